//! What people see who call an agent by hand: `--help`, `--version`, `--manual`, and `-o name=value ACTION`.
//!
//! clap is used here only: Pacemaker's calls never come this way, so they do not pay for it.

use crate::action::Action;
use crate::metadata::Description;
use clap::builder::{PossibleValuesParser, StyledStr};
use clap::{Arg, ArgAction, Command};
use std::ffi::OsString;
use std::fmt::Write;

/// What a call by hand asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// A text for stdout, with success.
    Print(String),
    /// A text for stderr, with failure.
    Refuse(String),
    /// An action, with the variables to be set for it.
    Call(Action, Vec<(String, OsString)>),
}

/// One line on how to call the agent.
pub(crate) fn usage(about: &Description) -> String {
    let mut names: Vec<&str> = about.actions.iter().map(|line| line.action.name()).collect();
    names.dedup();
    format!("usage: {}-agent {{{}}}, or {0}-agent --help\n", about.name, names.join("|"))
}

/// Reads a command line as a person types it; `arguments` begins with the program's own name.
pub(crate) fn by_hand(about: &Description, arguments: impl Iterator<Item = OsString>) -> Request {
    let matches = match command(about).try_get_matches_from(arguments) {
        Ok(matches) => matches,
        Err(told) if told.use_stderr() => return Request::Refuse(told.render().to_string()),
        Err(told) => return Request::Print(told.render().to_string()),
    };
    if matches.get_flag("manual") {
        return Request::Print(crate::manual::manual(about));
    }
    let action = matches.get_one::<String>("action").and_then(|word| Action::parse(word));
    let Some(action) = action else { return Request::Refuse(usage(about)) };
    let mut variables = Vec::new();
    for pair in matches.get_many::<OsString>("option").into_iter().flatten() {
        match split(pair) {
            Some((name, value)) => variables.push((format!("OCF_RESKEY_{name}"), value)),
            None => return Request::Refuse(format!("-o {pair:?}: expected NAME=VALUE\n")),
        }
    }
    let mut set = |name: &str, id: &str, map: fn(&str) -> String| {
        if let Some(value) = matches.get_one::<String>(id) {
            variables.push((name.to_owned(), map(value).into()));
        }
    };
    set("OCF_RESOURCE_INSTANCE", "name", str::to_owned);
    set("OCF_CHECK_LEVEL", "level", str::to_owned);
    set("OCF_RESKEY_CRM_meta_timeout", "timeout", |seconds| format!("{seconds}000"));
    if matches.get_flag("probe") {
        variables.push(("OCF_RESKEY_CRM_meta_interval".into(), "0".into()));
    }
    if matches.get_flag("verbose") {
        variables.push(("HA_debug".into(), "1".into()));
    }
    Request::Call(action, variables)
}

fn split(pair: &OsString) -> Option<(String, OsString)> {
    use std::os::unix::ffi::{OsStrExt, OsStringExt};
    let bytes = pair.as_bytes();
    let at = bytes.iter().position(|byte| *byte == b'=').filter(|at| *at > 0)?;
    let name = String::from_utf8(bytes[..at].to_vec()).ok()?;
    Some((name, OsString::from_vec(bytes[at + 1..].to_vec())))
}

fn command(about: &Description) -> Command {
    let mut actions: Vec<&'static str> = about.actions.iter().map(|line| line.action.name()).collect();
    actions.sort_unstable();
    actions.dedup();
    let number =
        |text: &str| text.parse::<u32>().map(|n| n.to_string()).map_err(|_| "a whole number is expected");
    Command::new(format!("{}-agent", about.name))
        .version(about.version)
        .about(format!("{} (ocf:bascule:{})", about.short, about.name))
        .override_usage(format!("{}-agent [-o NAME=VALUE]... ACTION", about.name))
        .arg(
            Arg::new("action")
                .value_name("ACTION")
                .value_parser(PossibleValuesParser::new(actions))
                .help("What to do"),
        )
        .arg(
            Arg::new("option")
                .short('o')
                .value_name("NAME=VALUE")
                .action(ArgAction::Append)
                .value_parser(clap::value_parser!(OsString))
                .help("Sets a parameter, as pcs and ocf-tester do"),
        )
        .arg(Arg::new("name").short('n').long("name").value_name("ID").help("Name of the resource"))
        .arg(
            Arg::new("level")
                .short('l')
                .long("level")
                .value_name("N")
                .value_parser(number)
                .help("OCF_CHECK_LEVEL of a monitor or validate-all"),
        )
        .arg(
            Arg::new("timeout")
                .short('t')
                .long("timeout")
                .value_name("SECONDS")
                .value_parser(number)
                .help("The time that the action may take"),
        )
        .arg(Arg::new("probe").long("probe").action(ArgAction::SetTrue).help("Makes a monitor a probe"))
        .arg(Arg::new("verbose").short('v').long("verbose").action(ArgAction::SetTrue).help("Says why"))
        .arg(
            Arg::new("manual")
                .long("manual")
                .action(ArgAction::SetTrue)
                .help("Prints the manual page (roff)"),
        )
        .after_help(StyledStr::from(parameters(about)))
}

fn parameters(about: &Description) -> String {
    let mut text = String::from("Parameters:\n");
    for row in about.parameters {
        let _infallible = writeln!(text, "  {:<20} {} ({})", row.name, row.short(), row.facts());
    }
    text
}
