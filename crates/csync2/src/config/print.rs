//! A configuration written out: one statement a line, inclusions in their place.

use std::fmt::{self, Write as _};
use std::io::Write as _;

use super::{Action, Config, Group, Runs, lexer::is_plain};
use crate::Text;

/// The configuration as csync2 reads it. [`Config::to_bytes`] is the same without loss where a name is not UTF-8.
impl fmt::Display for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.to_bytes()))
    }
}

/// Lines of the configuration being written. Writing to memory does not fail.
struct Lines(Vec<u8>);

impl Lines {
    /// `indent` tabs, the word, its arguments, `;`.
    fn statement(&mut self, indent: usize, word: &str, arguments: &[&Text]) {
        self.raw(indent, word);
        for argument in arguments {
            self.0.push(b' ');
            self.word(argument);
        }
        self.0.extend_from_slice(b";\n");
    }

    fn raw(&mut self, indent: usize, text: &str) {
        self.0.extend(std::iter::repeat_n(b'\t', indent));
        self.0.extend_from_slice(text.as_bytes());
    }

    fn word(&mut self, word: &Text) {
        if is_plain(word.bytes()) {
            self.0.extend_from_slice(word.bytes());
        } else {
            self.0.push(b'"');
            self.0.extend_from_slice(word.bytes());
            self.0.push(b'"');
        }
    }
}

fn number(value: i32) -> Text {
    let mut text = String::new();
    let _ = write!(text, "{value}");
    Text::from(text.as_str())
}

impl Config {
    /// The configuration as csync2 reads it, one statement a line, comments left out, included files in their place.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut lines = Lines(Vec::new());
        if let Some(database) = &self.database {
            lines.statement(0, "database", &[&database.text]);
        }
        if let Some(tempdir) = &self.tempdir {
            lines.statement(0, "tempdir", &[&tempdir.text]);
        }
        if let Some(timeout) = &self.lock_timeout {
            lines.statement(0, "lock-timeout", &[&number(timeout.value)]);
        }
        for (said, word) in [(&self.ignore_uid, "uid"), (&self.ignore_gid, "gid"), (&self.ignore_mod, "mod")]
        {
            if said.is_some() {
                lines.statement(0, "ignore", &[&Text::from(word)]);
            }
        }
        for nossl in &self.nossl {
            lines.statement(0, "nossl", &[&nossl.from.text, &nossl.to.text]);
        }
        for prefix in &self.prefixes {
            lines.raw(0, "prefix ");
            lines.word(&prefix.name.text);
            lines.raw(0, " {\n");
            for place in &prefix.places {
                lines.raw(1, "on ");
                lines.word(&place.hosts.text);
                lines.raw(0, " : ");
                lines.word(&place.path.text);
                lines.raw(0, ";\n");
            }
            lines.raw(0, "}\n");
        }
        for group in &self.groups {
            lines.group(group);
        }
        lines.0
    }
}

impl Lines {
    fn group(&mut self, group: &Group) {
        self.raw(0, "group ");
        self.word(&group.name);
        self.raw(0, " {\n");
        for host in &group.hosts {
            self.raw(1, if host.slave { "host (" } else { "host " });
            self.word(&host.name);
            if host.address != host.name {
                self.raw(0, "@");
                self.word(&host.address);
            }
            self.raw(0, if host.slave { ");\n" } else { ";\n" });
        }
        if let Some(key) = &group.key {
            self.statement(1, "key", &[&key.text]);
        }
        for pattern in &group.patterns {
            // One a line: of `compare a b` only the last would be compared (see the parser).
            self.statement(1, &pattern.kind.to_string(), &[&pattern.text]);
        }
        if let Some((auto, _)) = &group.auto {
            let _ = writeln!(self.0, "\tauto {auto};");
        }
        if let Some(directory) = &group.backup_directory {
            self.statement(1, "backup-directory", &[&directory.text]);
        }
        if let Some(generations) = &group.backup_generations {
            self.statement(1, "backup-generations", &[&number(generations.value)]);
        }
        for action in &group.actions {
            self.action(action);
        }
        self.raw(0, "}\n");
    }

    fn action(&mut self, action: &Action) {
        self.raw(1, "action {\n");
        for pattern in &action.patterns {
            self.statement(2, "pattern", &[&pattern.text]);
        }
        for command in &action.commands {
            self.statement(2, "exec", &[&command.text]);
        }
        if let Some(logfile) = &action.logfile {
            self.statement(2, "logfile", &[&logfile.text]);
        }
        match action.runs {
            Runs::Receiving => {}
            Runs::Both => self.statement(2, "do-local", &[]),
            Runs::Noticing => self.statement(2, "do-local-only", &[]),
        }
        self.raw(1, "}\n");
    }
}
