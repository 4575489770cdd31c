//! What to do about removals and conflicts: from facts to decisions. Pure.
//!
//! - [`guard`](fn@guard) holds removals back that look like an accident: an include that is not mounted, or empty, or too much of it gone.
//! - [`settle`](fn@settle) says which version of a file in conflict is to win, if any.
//! - [`Status`] is what the cluster and people are shown of both.

mod guard;
mod settle;
mod status;

pub use guard::{Decision, Guard, Held, Input, Known, Limits, Look, Release, Root, Seen, guard, roots};
pub use settle::{Conflict, Descent, Policies, Policy, Settle, Unsettled, Version, contradicts, settle};
pub use status::Status;
