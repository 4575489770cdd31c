//! The one place that reads the command line and the environment, writes to stdout and stderr, and picks the exit code.
//!
//! Follow an action from [`run`]: it is matched directly (clap serves only people), the parameters are read, the
//! resource is locked, the agent acts, and what it says becomes an exit code by the rules in [`verdict`].

use crate::environment::{Environment, Trace};
use crate::help::{Request, by_hand, usage};
use crate::log::{Level, Log, one_line, timestamp};
use crate::parameters::{Parameters, Problem};
use crate::state::{file_name, fnv1a, make_directory};
use crate::verdict::{Outcome, verdict};
use crate::{Action, Agent, Call, Code, Deadline, Description, Failure, Status, describe, metadata};
use process::{Guard, PidLock};
use std::ffi::{OsStr, OsString};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const REASON_PREFIX: &str = "ocf-exit-reason:";

/// A face of the agent's program that is no action: what a daemon that the agent started calls back. It gets the arguments after its
/// name, and gives the exit code.
pub type Job = fn(&[OsString]) -> u8;

/// Runs an agent's `main` where its daemons call it back: a first argument that names one of the jobs runs that, in the environment
/// of whoever called, without a lock or a deadline; anything else is an action, as with [`run`].
pub fn run_with_jobs<A: Agent>(jobs: &[(&str, Job)]) -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let first = arguments.next();
    match jobs.iter().find(|(name, _)| first.as_deref() == Some(OsStr::new(name))) {
        Some((_, job)) => {
            explain_panics(REASON_PREFIX.to_owned());
            ExitCode::from(job(&arguments.collect::<Vec<_>>()))
        }
        None => run::<A>(),
    }
}

/// Runs an agent's `main`: one action, and its exit code.
pub fn run<A: Agent>() -> ExitCode {
    let begin = Instant::now();
    let mut environment = Environment::new(std::env::vars_os());
    let prefix = environment.text("OCF_EXIT_REASON_PREFIX").unwrap_or(REASON_PREFIX).to_owned();
    explain_panics(prefix.clone());
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let word = arguments.get(1).and_then(|word| word.to_str()).unwrap_or("");
    // The protocol gives one argument, and has further ones ignored; a person may put options there.
    let protocol = environment.text("OCF_RA_VERSION_MAJOR").is_some();
    let options = || arguments.iter().skip(2).any(|word| word.to_string_lossy().starts_with('-'));
    let (action, person) = match Action::parse(word) {
        Some(action) if protocol || !options() => (action, false),
        known => match by_a_person(&describe::<A>(), known, arguments, &mut environment) {
            Ok(action) => (action, true),
            Err(code) => return code,
        },
    };
    if action == Action::MetaData {
        return document(&describe::<A>());
    }
    let outcome = call::<A>(action, environment, begin);
    if person {
        to_stderr(&format!("{action}: {}\n", outcome.summary()));
    }
    if let Some(reason) = &outcome.reason {
        to_stderr(&format!("{prefix}{}\n", one_line(reason)));
    }
    ExitCode::from(outcome.code)
}

/// What a person asks for, or Pacemaker with a word that is no action: an action, with its variables set, or an answer
/// that was given here. Apart from [`run`], so that its room on the stack and in memory is not taken by every monitor.
#[cold]
#[inline(never)]
fn by_a_person(
    about: &Description,
    known: Option<Action>,
    arguments: Vec<OsString>,
    environment: &mut Environment,
) -> Result<Action, ExitCode> {
    let word = arguments.get(1).and_then(|word| word.to_str()).unwrap_or("");
    if word == "usage" {
        return Err(print(&usage(about)));
    }
    if known.is_none() && !word.starts_with('-') {
        to_stderr(&usage(about));
        return Err(ExitCode::from(Code::Unimplemented as u8));
    }
    match by_hand(about, arguments.into_iter()) {
        Request::Print(text) => Err(print(&text)),
        Request::Refuse(text) => {
            to_stderr(&text);
            Err(ExitCode::from(Code::Args as u8))
        }
        Request::Call(action, variables) => {
            variables.into_iter().for_each(|(name, value)| environment.set(&name, value));
            Ok(action)
        }
    }
}

#[cold]
#[inline(never)]
fn document(about: &Description) -> ExitCode {
    match metadata(about) {
        Ok(document) => print(&document),
        Err(_) => ExitCode::from(Code::Generic as u8),
    }
}

/// Runs one action of the protocol.
fn call<A: Agent>(action: Action, environment: Environment, begin: Instant) -> Outcome {
    let level = environment.check_level();
    let lines = || A::ACTIONS.iter().filter(|line| line.action == action);
    let advertised = lines().find(|line| line.depth == level).or_else(|| lines().next());
    let Some(advertised) = advertised else {
        return Outcome::failed(
            Code::Unimplemented,
            format!("{action} is not an action of ocf:bascule:{}", A::NAME),
        );
    };
    let instance = match instance::<A>(action, &environment) {
        Ok(instance) => instance,
        Err(failure) => return verdict(action, false, None, Err(failure)),
    };
    let timeout = environment.timeout().unwrap_or(Duration::from_secs(advertised.timeout.into()));
    let trace = environment.trace().and_then(|trace| open_trace(&trace, A::NAME, &instance, action));
    let call = Call {
        action,
        interval: environment.interval(),
        check_level: level,
        deadline: Deadline::new(begin, timeout),
        log: Log::new(
            format!("{}({instance})[{}]", A::NAME, std::process::id()),
            environment.text("HA_LOGFACILITY").or(environment.text("PCMK_logfacility")),
            environment.debug(),
            trace,
        ),
        instance,
        environment,
        agent: A::NAME,
    };
    let done = perform::<A>(&call);
    if let Err(failure) = &done {
        call.log.debug(format_args!("{action} says {:?}: {}", failure.code, failure.reason));
    }
    let outcome = verdict(action, call.is_probe(), call.interval, done);
    if let Some(note) = &outcome.note {
        call.log.warning(note);
    }
    match &outcome.reason {
        Some(reason) if matches!(outcome.code, 190 | 191) => call.log.reason(Level::Warning, reason),
        Some(reason) => call.log.reason(Level::Error, reason),
        None => call.log.debug(format_args!("{action} ends with {}", outcome.code)),
    }
    outcome
}

/// Reads the parameters, locks the resource, acts, and looks again.
fn perform<A: Agent>(call: &Call) -> Result<Status, Failure> {
    let action = call.action;
    // Ending what runs is asked for in any version, and may not be refused for one.
    if action != Action::Stop
        && let Some(version) = call.environment.foreign_version()
    {
        let found = format!("OCF_RA_VERSION_MAJOR={version}: this agent speaks version 1 of the protocol");
        return Err(Failure::new(Code::Args, found));
    }
    if action != Action::ValidateAll && !nix::unistd::geteuid().is_root() {
        return Err(Failure::new(Code::Perm, format!("{action} has to run as root")));
    }
    let agent = A::Parameters::read(&|name| call.environment.parameter(name))
        .map_err(|problems| Failure::new(Code::Configured, sentence(&problems)))
        .and_then(|parameters| A::new(parameters, call));
    let _lock = lock(call)?;
    let agent = match agent {
        Err(failure) if action == Action::Stop => {
            call.log.warning(format_args!("{}; stopping what was started before", failure.reason));
            A::stop_without_parameters(call)?;
            return Ok(Status::Stopped);
        }
        agent => agent?,
    };
    match action {
        Action::Monitor => return agent.monitor(call),
        Action::Start => agent.start(call)?,
        Action::Stop => agent.stop(call)?,
        Action::Promote => agent.promote(call)?,
        Action::Demote => agent.demote(call)?,
        Action::ReloadAgent => agent.reload(call)?,
        Action::Notify => match call.environment.notification() {
            Some(notification) => agent.notify(call, &notification)?,
            None => call.log.debug("notify without the variables that say of what"),
        },
        Action::ValidateAll if call.check_level >= 10 => agent.validate_here(call)?,
        Action::ValidateAll | Action::MetaData => {}
    }
    look_again(&agent, call)
}

/// Success means that the state was seen, not that nothing complained.
fn look_again<A: Agent>(agent: &A, call: &Call) -> Result<Status, Failure> {
    let expected: fn(&Status) -> bool = match call.action {
        // Starting what already leads is left to Pacemaker, which demotes it; it is up, and that was asked.
        Action::Start => Status::is_active,
        Action::Promote => Status::is_promoted,
        Action::Demote => |seen| seen.is_active() && !seen.is_promoted(),
        Action::Stop => |seen| !seen.is_active(),
        _ => return Ok(Status::Running),
    };
    match agent.monitor(call) {
        Ok(seen) if expected(&seen) => Ok(seen),
        Ok(seen) => Err(Failure::generic(format!("after {} the resource is found {seen}", call.action))),
        // Not known to be active: a node is not fenced because a tool to look with is missing.
        Err(failure)
            if call.action == Action::Stop && matches!(failure.code, Code::Installed | Code::Args) =>
        {
            call.log.warning(format_args!("stopped, but a last look failed: {}", failure.reason));
            Ok(Status::Stopped)
        }
        Err(failure) => Err(failure.context(format_args!("after {}", call.action))),
    }
}

/// Keeps operations of one resource apart. The kernel drops the lock with the process that holds it, so that a killed
/// one leaves nothing behind; a monitor only waits for a running operation, it holds nothing.
fn lock(call: &Call) -> Result<Option<Guard>, Failure> {
    let lock = PidLock::at(call.run_file("lock"));
    let busy = |pid: i32| {
        let waited = format!("another operation on this resource (process {pid}) to end");
        call.deadline.missed(&waited)
    };
    match call.action {
        Action::ValidateAll | Action::MetaData => Ok(None),
        Action::Monitor => {
            while let Some(pid) = lock.holder()? {
                if call.deadline.is_over() {
                    return Err(busy(pid));
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            Ok(None)
        }
        _ => match lock.lock_until(call.deadline.instant()) {
            Err(process::Error::Held { by, .. }) => Err(busy(by)),
            // What a full or read-only /run forbids is no reason to leave the resource running, and the node to be fenced.
            Err(error) if call.action == Action::Stop => {
                call.log.warning(format_args!("{error}; stopping without a lock"));
                Ok(None)
            }
            locked => Ok(Some(locked?)),
        },
    }
}

fn sentence(problems: &[Problem]) -> String {
    problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
}

/// The resource's name. Callers that give none (halo, a person) get one made of the parameters that tell resources
/// apart, so that two of them do not share their state. Only Pacemaker's own calls have to bring one, but for a stop,
/// which does what it can.
fn instance<A: Agent>(action: Action, environment: &Environment) -> Result<String, Failure> {
    if let Some(name) = environment.instance() {
        return Ok(name.to_owned());
    }
    if environment.text("OCF_RA_VERSION_MAJOR").is_some() && action != Action::Stop {
        let missing = "OCF_RESOURCE_INSTANCE is not set: the resource has no name";
        return Err(Failure::new(Code::Args, missing));
    }
    let mut unique = Vec::new();
    for row in A::Parameters::TABLE.iter().filter(|row| row.unique_group.is_some()) {
        unique
            .extend_from_slice(environment.parameter(row.name).unwrap_or(OsStr::new("")).as_encoded_bytes());
        unique.push(0);
    }
    Ok(format!("default-{:016x}", fnv1a(&unique)))
}

#[cold]
#[inline(never)]
fn open_trace(trace: &Trace, agent: &str, instance: &str, action: Action) -> Option<File> {
    let path = match trace {
        Trace::Descriptor(number) => PathBuf::from(format!("/proc/self/fd/{number}")),
        Trace::File(path) => PathBuf::from(path),
        Trace::Directory(directory) => {
            let directory = directory
                .as_deref()
                .map_or_else(|| Path::new("/var/lib/heartbeat/trace_ra").join(agent), PathBuf::from);
            make_directory(&directory).ok()?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            directory.join(format!("{}.{action}.{}", file_name(instance), timestamp(now)))
        }
    };
    // Nobody may read from a FIFO, and then it must not hold us up.
    OpenOptions::new().append(true).create(true).custom_flags(libc::O_NONBLOCK).open(path).ok()
}

fn print(text: &str) -> ExitCode {
    // A reader that went away (`| head`) is no failure of ours.
    let _closed = std::io::stdout().write_all(text.as_bytes());
    ExitCode::SUCCESS
}

fn to_stderr(text: &str) {
    let _closed = std::io::stderr().write_all(text.as_bytes());
}

/// A panic is a bug; the cluster log still gets a reason and a plain failure, not a backtrace and a signal.
fn explain_panics(prefix: String) {
    std::panic::set_hook(Box::new(move |panic| {
        to_stderr(&format!("{prefix}internal error, please report it: {}\n", one_line(&panic.to_string())));
        std::process::exit(i32::from(Code::Generic as u8));
    }));
}
