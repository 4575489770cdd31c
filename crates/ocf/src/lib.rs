//! The OCF resource agent protocol (RA API 1.1), decided once for all agents of Bascule.
//!
//! An agent declares its [`parameters!`], implements [`Agent`] and calls [`run()`] from `main`. From the declaration come
//! parsing, validation, metadata, the manual page and `--help`; from [`run()`] come exit codes, exit reasons, logging,
//! deadlines, the lock of the resource and the rules for probes and stops.
//!
//! What is pure and what acts: `run` and `state` touch the process and the file system, `log` writes; every other module
//! takes data and returns data.

mod action;
mod agent;
mod arena;
mod code;
mod deadline;
mod environment;
mod help;
mod log;
mod manual;
mod metadata;
mod parameters;
mod run;
mod state;
mod value;
mod verdict;

pub use action::{Action, Advertised, Role};
pub use agent::{Agent, Call, describe};
pub use arena::Arena;
pub use code::{Code, Failure, OrCode, Status};
pub use deadline::Deadline;
pub use environment::{CloneMeta, Environment, Notification, Operation, Peer, Trace, When};
pub use log::{Level, Log, stamp};
pub use manual::manual;
pub use metadata::{Description, metadata};
pub use parameters::{Parameter, Parameters, Problem, table_faults, take};
pub use run::{Job, run, run_with_jobs};
pub use state::{LASTING_DIRECTORY, RUN_DIRECTORY, StateFile, file_name};
pub use value::{AbsolutePath, Kind, List, Size, Value, Within};
