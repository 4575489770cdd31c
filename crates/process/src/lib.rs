//! Processes, the way an agent needs them: every wait has an end, and nothing is left behind unseen.
//!
//! - [`Tool`] runs a command to its end within a deadline and keeps what it said.
//! - [`Daemon`] starts a command that outlives the agent; its [`Identity`] finds it again, tells whether it is
//!   alive however often pids were reused, and ends it with all its children.
//! - [`detach()`] carries a small job of the agent itself on in the background.
//! - [`PidLock`] is a lock that a killed process cannot leave behind and that names its holder.
//! - [`Process`] and [`holders()`] are facts read from `/proc`.
//! - [`read_file`] and [`holds_other_than`] look at small files and directories with few system calls.
//!
//! Synchronous, without threads, signal handlers or a runtime: an agent lives for a millisecond. Linux only; uses pidfds
//! and `close_range` where the kernel has them (5.3, 5.11) and does without where it has not.

mod daemon;
mod detach;
mod error;
mod facts;
mod file;
mod holders;
mod identity;
mod invocation;
mod lock;
mod sys;
mod text;
mod tool;

pub use daemon::Daemon;
pub use detach::detach;
pub use error::{Ended, Error};
pub use facts::{Process, command_line};
pub use file::{holds_other_than, open_file, read_file, read_open};
pub use holders::{Holder, How, holders};
pub use identity::{Identity, Stopped};
pub use invocation::find_tool;
pub use lock::{Guard, PidLock};
pub use tool::{Output, Tool};
