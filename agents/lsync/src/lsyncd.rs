//! The text of lsyncd's configuration, which is a program in Lua. Pure. Every value in it is a quoted string: whatever is in a
//! path or a name, it is data.

use crate::settings::{Place, Settings, TREE_CANARY, TREE_PRIVATE};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

/// What the program that lsyncd calls exits with on success. Nothing else counts: lsyncd takes a child that a signal killed for one that
/// exited with 0.
pub(crate) const SUCCESS: u8 = 100;

/// The configuration for one tree and all its peers. What is sent is decided by the pushes that it calls; lsyncd only tells
/// what has changed.
///
/// # Errors
/// A value that lsyncd cannot be given.
pub(crate) fn configuration(settings: &Settings, place: &Place) -> Result<String, String> {
    let given = [
        ("source", settings.source.as_os_str()),
        ("the agent's path", settings.agent.as_os_str()),
        ("the directory for the state", place.run.as_os_str()),
    ];
    for (what, value) in given {
        // They end up as C strings, where a NUL is an end.
        if value.as_bytes().contains(&0) {
            return Err(format!("{what} {value:?} holds a NUL byte, which lsyncd cannot be given"));
        }
    }
    if settings.peers.is_empty() {
        return Err("there is no other node: expected at least one to mirror to".to_owned());
    }
    let peers: String = settings.peers.iter().map(|peer| format!("  {},\n", quote(&peer.name))).collect();
    let source = quote(&settings.source);
    let (agent, dataset) = (quote(&settings.agent), quote(&settings.dataset));
    let (log, status) = (quote(place.lsyncd("log")), quote(place.lsyncd("status")));
    let private = quote(format!("/{TREE_PRIVATE}/"));
    let below = quote(format!("/{TREE_PRIVATE}/**"));
    let canary = quote(format!("/{TREE_CANARY}"));
    let delay = settings.delay;
    Ok(format!(
        r#"-- Made by ocf:bascule:lsync when this node became the source, and made anew each time: changes are lost.
-- lsyncd notices what changes; the agent, called for every push, decides what is sent, and sends it with rsync.

settings {{
  nodaemon = true,
  insist = true,
  logfile = {log},
  statusFile = {status},
  statusInterval = 10,
  inotifyMode = "CloseWrite or Modify",
}}

local agent = {agent}
local dataset = {dataset}

-- The nodes that get a copy.
local peers = {{
{peers}}}

for _, peer in ipairs(peers) do
  sync {{
    default.rsync,
    source = {source},
    target = peer,
    delay = {delay},
    maxProcesses = 1,
    -- Each node's own, and what goes separately.
    exclude = {{ {private}, {below}, {canary} }},

    -- Once, before all changes: the whole tree.
    init = function(event)
      spawn(event, agent, "push", "full", peer, dataset)
    end,

    -- Then what changes, as paths with a NUL between each two.
    action = function(inlet)
      local events = inlet.getEvents(function(event)
        return event.etype ~= "Init" and event.etype ~= "Blanket"
      end)
      spawn(events, agent, "<", table.concat(events.getPaths(), "\0"), "push", "list", peer, dataset)
    end,

    -- {SUCCESS} alone is success: for lsyncd a program that was killed has exited with 0. All else is tried again.
    collect = function(_, exitcode)
      if exitcode == {SUCCESS} then return "ok" end
      return "again"
    end,
  }}
end
"#
    ))
}

/// A Lua string literal for any bytes: letters, digits and harmless signs as they are, everything else as `\ddd`.
pub(crate) fn quote(value: impl AsRef<OsStr>) -> String {
    let mut text = String::from("\"");
    for byte in value.as_ref().as_bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-+=:,@~ ".contains(byte) {
            text.push(char::from(*byte));
        } else {
            // Three digits: what follows may be a digit.
            text.push_str(&format!("\\{byte:03}"));
        }
    }
    text.push('"');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::io::Write as _;
    use std::os::unix::ffi::OsStringExt as _;
    use std::process::{Command, Stdio};

    fn lua(program: &str) -> Vec<u8> {
        let mut child = Command::new("lua5.1")
            .arg("-")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("lua5.1 is installed (packaging/setup)");
        child.stdin.take().unwrap().write_all(program.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{program}");
        output.stdout
    }

    #[test]
    fn lua_reads_every_byte_as_it_was() {
        let all: Vec<u8> = (0..=255).chain((0..=255).rev()).chain(*b"\x00001\n2\\\"]]--").collect();
        let quoted = quote(OsString::from_vec(all.clone()));
        assert!(quoted.is_ascii() && !quoted.contains('\n'));
        assert_eq!(lua(&format!("io.write({quoted})")), all);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
        #[test]
        fn lua_reads_any_bytes_as_they_were(strings in prop::collection::vec(any::<Vec<u8>>(), 20)) {
            let program: String = strings
                .iter()
                .map(|bytes| format!("io.write({})\n", quote(OsString::from_vec(bytes.clone()))))
                .collect();
            prop_assert_eq!(lua(&program), strings.concat());
        }
    }

    #[test]
    fn the_configuration_runs_and_holds_what_was_given() {
        let hostile = "/site/\"]] os.exit(3) --[[\n\\";
        let mut settings = crate::transfer::tests::settings(std::path::Path::new(hostile));
        settings.peers[0].name = "n\"2\n".to_owned();
        let place = Place::below(std::path::Path::new("/x"), "site5");
        let text = configuration(&settings, &place).unwrap();
        // lsyncd's own functions, as far as a configuration sees them.
        let stand_in = "default = { rsync = {} }\nfunction settings(t) assert(t.nodaemon and t.insist) end\n\
                        function spawn(event, ...) called = { ... } end\n\
                        function sync(t)\n  io.write(t.source, '|', t.target, '|', t.delay, '|')\n\
                        t.init({})\n  io.write(table.concat(called, ' '), '|')\n\
                        t.action({ getEvents = function(f) assert(f({etype='Create'}) and not f({etype='Init'}))\n\
                        return { getPaths = function() return {'/a', '/b'} end } end })\n\
                        io.write((table.concat(called, ' '):gsub('%z', '0')), '|')\n\
                        io.write(t.collect(nil, 100), t.collect(nil, 0), t.collect(nil, 1)) end\n";
        let said = String::from_utf8(lua(&format!("{stand_in}{text}"))).unwrap();
        let agent = settings.agent.to_str().unwrap();
        assert_eq!(
            said,
            format!(
                "{hostile}|n\"2\n|1|{agent} push full n\"2\n d|{agent} < /a0/b push list n\"2\n d|okagainagain"
            )
        );
    }

    #[test]
    fn what_cannot_be_given_is_refused() {
        let place = Place::below(std::path::Path::new("/x"), "d");
        let mut settings = crate::transfer::tests::settings(std::path::Path::new("/a\0b"));
        assert!(configuration(&settings, &place).unwrap_err().contains("NUL"));
        settings.source = "/a".into();
        settings.peers.clear();
        assert!(configuration(&settings, &place).unwrap_err().contains("no other node"));
    }
}
