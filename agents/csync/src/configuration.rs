//! The administrator's configuration on this node: read, judged, and made into the one that csync2 is run with.

use crate::effective::{Wanted, effective};
use crate::fingerprint::Fingerprints;
use crate::settings::{Place, Settings};
use crate::values::Policy;
use csync2::config::{self, Auto, Config, Word};
use csync2::decide::roots;
use csync2::key::{Key, key};
use csync2::meaning::Meaning;
use csync2::{At, Problem, Severity, Text};
use ocf::{Code, Failure};
use process::Tool;
use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest for resolving one name.
const RESOLVING: Duration = Duration::from_secs(5);

/// The certificate of this node and its key, in csync2's directory.
pub(crate) const CERTIFICATE: &str = "csync2_ssl_cert.pem";
pub(crate) const CERTIFICATE_KEY: &str = "csync2_ssl_key.pem";

/// While an administrator has this file in csync2's directory, csync2 does nothing.
const LOCK: &str = "csync2.lock";

/// A name of csync2's as a path.
pub(crate) fn path(name: &Text) -> &Path {
    Path::new(OsStr::from_bytes(name.bytes()))
}

/// A path as csync2 has it.
pub(crate) fn text(path: &Path) -> Text {
    Text::from(path.as_os_str().as_bytes())
}

/// Reads the administrator's configuration, with everything that is wrong in it.
///
/// # Errors
/// What csync2 would refuse, one line for each problem; or the file is not there.
pub(crate) fn read(settings: &Settings) -> Result<Config, Vec<String>> {
    let file = settings.config_file();
    // Names in `config` lines are relative to where csync2 is started: for a daemon, the root.
    let mut contents =
        |name: &Text| fs::read(Path::new("/").join(path(name))).map_err(|error| error.to_string());
    let parsed = config::parse(&text(&file), &mut contents);
    if parsed.is_accepted() {
        return Ok(parsed.config);
    }
    Err(parsed.errors().map(ToString::to_string).collect())
}

/// Whether this node has an address of its own in the configuration.
pub(crate) fn has_interface(settings: &Settings, config: &Config) -> bool {
    let host = settings.host_text();
    Meaning::new(config, &host).memberships().any(|membership| *membership.address != host)
}

/// The name of the machine, by which csync2 knows itself if it is not told another.
pub(crate) fn hostname() -> Result<String, Failure> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname");
    Ok(name.map(|name| name.trim().to_owned())?)
}

/// The name of this node that the configuration has: the one that is given, or the first of those by which the node is known that is in a
/// group.
pub(crate) fn host(given: Option<&str>, node: &str, config: &Config) -> String {
    if let Some(given) = given {
        return given.to_owned();
    }
    let short = |name: &str| name.split('.').next().unwrap_or_default().to_owned();
    let machine = hostname().unwrap_or_default();
    let names = [node.to_owned(), machine.clone(), short(node), short(&machine)];
    let is_there = |name: &&String| {
        let name = Text::from(name.to_lowercase().as_str());
        config.groups.iter().flat_map(|group| &group.hosts).any(|host| host.name == name)
    };
    names.iter().find(is_there).cloned().unwrap_or_else(|| node.to_owned())
}

/// Everything that keeps this configuration from working on this node as it was meant, one line each, errors first.
pub(crate) fn problems(settings: &Settings, config: &Config) -> (Vec<String>, Vec<String>) {
    let host = settings.host_text();
    let meaning = Meaning::new(config, &host);
    let mut found: Vec<Problem> = meaning.problems();
    if meaning.memberships().next().is_none() {
        let at = At { file: settings.config_file().to_string_lossy().into(), line: 1 };
        let text = format!(
            "this node, {host}, is in no group: name it in a host line, or give the name that it has there as node_name"
        );
        return (vec![Problem::error(&at, text).to_string()], Vec::new());
    }
    for membership in meaning.memberships() {
        if let Some(word) = &membership.group.key {
            let place = settings.directory.join(path(&word.text));
            if let Err(trouble) = key_trouble(&place) {
                found.push(Problem::error(&word.at, format!("key {}: {trouble}", place.display())));
            }
        }
    }
    for name in settings.group_policy.keys() {
        if !config.groups.iter().any(|group| group.name == name.as_str()) {
            let at = At { file: settings.config_file().to_string_lossy().into(), line: 1 };
            let what = format!("group_policy names the group {name}, which is not here");
            found.push(Problem::error(&at, what));
        }
    }
    for group in meaning.memberships().map(|membership| membership.group) {
        let policy = settings.group_policy.get(&group.name.to_string()).unwrap_or(&settings.policy);
        if let Some((auto, at)) = group.auto.as_ref().filter(|(auto, _)| *auto != Auto::None)
            && *policy != Policy::Auto
        {
            let what = format!(
                "`auto {auto}` of the group {} is not used: conflict_policy decides (conflict_policy=auto leaves it to csync2)",
                group.name
            );
            found.push(Problem::warning(at, what));
        }
    }
    if let Some(membership) = meaning.memberships().find(|membership| *membership.address != host)
        && let Ok(machine) = hostname()
        && machine.to_lowercase() != settings.host.to_lowercase()
    {
        let what = format!(
            "{host}@{}: csync2 takes an address beside the name only from a machine that is called so, and this one is called {machine}: name it \
             so in the host lines, or leave the address out",
            membership.address
        );
        found.push(Problem::error(&membership.group.at, what));
    }
    for root in roots(&meaning) {
        if fs::symlink_metadata(path(&root.path)).is_err()
            && let Some(word) = include_of(config, &root.groups)
        {
            let what = format!("include {} does not exist on this node: make or mount it", root.path);
            found.push(Problem::warning(&word, what));
        }
    }
    if let Some(at) = encrypted(&meaning) {
        for name in [CERTIFICATE, CERTIFICATE_KEY] {
            let file = settings.directory.join(name);
            if let Err(trouble) = readable(&file, name == CERTIFICATE_KEY) {
                let what = format!(
                    "{}: {trouble}; it is needed unless `nossl * *;` is set (csync-agent keygen --tls makes the pair)",
                    file.display()
                );
                found.push(Problem::error(&at, what));
            }
        }
    }
    let (errors, warnings): (Vec<_>, Vec<_>) =
        found.into_iter().partition(|problem| problem.severity == Severity::Error);
    let lines = |problems: Vec<Problem>| problems.iter().map(ToString::to_string).collect();
    (lines(errors), lines(warnings))
}

/// What is wrong with the names in the configuration, as this node resolves them: csync2 listens at the address of this node's, and takes
/// a peer for the one that its address belongs to.
pub(crate) fn resolution(
    settings: &Settings,
    config: &Config,
    deadline: Instant,
) -> (Vec<String>, Vec<String>) {
    let host = settings.host_text();
    let meaning = Meaning::new(config, &host);
    let (mut errors, mut warnings) = (Vec::new(), Vec::new());
    for membership in meaning.memberships() {
        let own = membership.address;
        let at = &membership.group.at;
        for address in std::iter::once(own).chain(membership.peers.iter().map(|host| &host.address)) {
            let found = addresses(address, deadline);
            let line = match found {
                Ok(found) if address != own || found.iter().any(|it| is_here(*it)) => continue,
                Ok(found) => {
                    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
                    let found = found.join(" ");
                    format!(
                        "{address}, this node, resolves to {found}, which is no address of this node: mend /etc/hosts or the host line"
                    )
                }
                Err(why) => {
                    format!("{address} does not resolve ({why}): mend /etc/hosts, DNS or the host line")
                }
            };
            let kind = if address == own { &mut errors } else { &mut warnings };
            let line = format!("{at}: {line}");
            if !kind.contains(&line) {
                kind.push(line);
            }
        }
    }
    (errors, warnings)
}

/// The addresses of a name, by the system's own rules, as csync2 finds them.
fn addresses(name: &Text, deadline: Instant) -> Result<Vec<IpAddr>, String> {
    let tool = Tool::new("getent").arg("ahosts").arg(path(name));
    let output = tool.run(deadline.min(Instant::now() + RESOLVING)).map_err(|error| error.to_string())?;
    let mut found: Vec<IpAddr> =
        output.text().lines().filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    found.dedup();
    if found.is_empty() { Err("the name is unknown".to_owned()) } else { Ok(found) }
}

/// Whether an address is one of this node's: something can be bound to it.
fn is_here(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

/// Where the first of these groups begins to include.
fn include_of(config: &Config, groups: &[Text]) -> Option<At> {
    let group = config.groups.iter().find(|group| groups.contains(&group.name))?;
    Some(group.patterns.first().map_or_else(|| group.at.clone(), |pattern| pattern.at.clone()))
}

/// Where a group begins with a peer to which this node speaks encrypted, if there is one.
fn encrypted(meaning: &Meaning<'_>) -> Option<At> {
    meaning.memberships().find_map(|membership| {
        let plain = |address: &Text| meaning.is_plain_to(address);
        let needs = membership.peers.iter().any(|host| !plain(&host.address));
        needs.then(|| membership.group.at.clone())
    })
}

/// Whether a key file can be used, and by nobody else.
fn key_trouble(file: &Path) -> Result<(), String> {
    readable(file, true)?;
    let contents = fs::read(file).map_err(|error| error.to_string())?;
    key(&contents).map(drop).map_err(|problem| problem.to_string())
}

/// Whether a file is there, and, if it is a secret, for root only.
fn readable(file: &Path, secret: bool) -> Result<(), String> {
    let found = fs::metadata(file).map_err(|error| error.to_string())?;
    if !found.is_file() {
        return Err("it is not a file".to_owned());
    }
    let mode = found.mode() & 0o7777;
    if secret && mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {mode:04o}): chmod 600 {}", file.display()));
    }
    Ok(())
}

/// Makes the directory that csync2 takes for its own, with the configuration that it is run with, and returns that, with what is
/// odd about it.
///
/// # Errors
/// The configuration is refused ([`Code::Installed`]: another node may have a good one), or the directory cannot be written.
pub(crate) fn prepare(place: &Place, settings: &Settings) -> Result<(Config, Vec<String>), Failure> {
    let refused = |lines: Vec<String>| Failure::new(Code::Installed, lines.join("; "));
    let config = read(settings).map_err(refused)?;
    let (errors, warnings) = problems(settings, &config);
    if !errors.is_empty() {
        return Err(refused(errors));
    }
    let wanted = Wanted {
        host: &settings.host_text(),
        directory: &text(&settings.directory),
        policy: settings.policy,
        groups: &settings.group_policy,
        kept: &text(&place.overwritten()),
    };
    let made = effective(&config, &wanted);
    let system = place.system();
    private_directory(&system)?;
    private_directory(&place.overwritten())?;
    for group in &made.groups {
        if let Some(Word { text, .. }) = &group.backup_directory {
            private_directory(path(text))?;
        }
    }
    let mut text = format!(
        "# Made by ocf:bascule:csync from {}; replaced when the resource starts.\n",
        settings.config_file().display()
    )
    .into_bytes();
    text.extend(made.to_bytes());
    replace(&system.join(settings.config_name()), &text)?;
    for name in [CERTIFICATE, CERTIFICATE_KEY, LOCK] {
        let link = system.join(name);
        let target = settings.directory.join(name);
        if fs::read_link(&link).ok().as_deref() != Some(&*target) {
            let _may_not_be_there = fs::remove_file(&link);
            symlink(&target, &link)?;
        }
    }
    Ok((made, warnings))
}

/// What the other nodes have to have as well: the configuration, and the keys of this node's groups.
pub(crate) fn fingerprints(settings: &Settings, config: &Config) -> Fingerprints {
    let host = settings.host_text();
    let meaning = Meaning::new(config, &host);
    let keys: Vec<(&Text, Key)> = meaning
        .memberships()
        .filter_map(|membership| {
            let place = settings.directory.join(path(&membership.group.key.as_ref()?.text));
            Some((&membership.group.name, key(&fs::read(place).ok()?).ok()?))
        })
        .collect();
    Fingerprints::of(&config.to_bytes(), keys.iter().map(|(group, key)| (*group, key)))
}

/// The configuration that csync2 is run with, as the start made it.
///
/// # Errors
/// It is gone, or was changed by somebody.
pub(crate) fn made(place: &Place, settings: &Settings) -> Result<Config, Failure> {
    let file = place.system().join(settings.config_name());
    let mut contents = |name: &Text| fs::read(path(name)).map_err(|error| error.to_string());
    let parsed = config::parse(&text(&file), &mut contents);
    let wrong = parsed.errors().next().map(ToString::to_string);
    match wrong {
        None => Ok(parsed.config),
        Some(problem) => Err(Failure::generic(format!("{problem}: stop and start the resource"))),
    }
}

/// A directory for root only, with those above it.
pub(crate) fn private_directory(directory: &Path) -> Result<(), Failure> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(|error| Failure::generic(format!("making {}: {error}", directory.display())))
}

/// Puts a file for root only in the place of what was there, at once.
pub(crate) fn replace(file: &Path, contents: &[u8]) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::generic(format!("writing {}: {error}", file.display()));
    let mut beside = file.as_os_str().to_owned().into_vec();
    beside.extend_from_slice(b".new");
    let beside = PathBuf::from(std::ffi::OsString::from_vec(beside));
    let mut new = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&beside)
        .map_err(failed)?;
    new.write_all(contents).map_err(failed)?;
    fs::rename(&beside, file).map_err(failed)
}
