//! The kernel's switch that keeps the other addresses of a network when its primary one goes.

use ocf::{Deadline, RUN_DIRECTORY, StateFile};
use process::{Guard, PidLock};
use std::fs;
use std::path::{Path, PathBuf};

/// Has the kernel promote a secondary address when the primary of its network goes, for as long as this lives: left
/// alone, it removes all of them with it.
///
/// Which address is the primary may change between a look and the removal, so this is for every removal; and since the
/// switch is the interface's, one process at a time has it, or one would switch back what another needs. That it has to
/// be switched back is on record before it is switched, so that after a kill the next one does it.
pub(crate) struct PromoteSecondaries {
    path: PathBuf,
    switched: bool,
    /// Without it (`/run` is full) the address has to go all the same.
    _turn: Option<Guard>,
}

impl PromoteSecondaries {
    pub(crate) fn on(nic: &str, deadline: Deadline) -> PromoteSecondaries {
        let turn = turn(deadline);
        let path = PathBuf::from(format!("/proc/sys/net/ipv4/conf/{nic}/promote_secondaries"));
        switch_back();
        let switched = is_off(&path);
        if switched {
            let _best_effort = pending().save(&path);
            let _best_effort = fs::write(&path, "1");
        }
        PromoteSecondaries { path, switched, _turn: turn }
    }

    /// Whether it is on for this interface. (It may be on for all of them, which this does not look at.)
    pub(crate) fn is_on(&self) -> bool {
        !is_off(&self.path)
    }

    /// Switches back what a process that was killed has left on.
    pub(crate) fn settle(deadline: Deadline) {
        let path = pending().path().to_owned();
        // The other is there if it was killed while it put that on record.
        if path.exists() || path.with_extension("new").exists() {
            let _turn = turn(deadline);
            switch_back();
        }
    }
}

impl Drop for PromoteSecondaries {
    fn drop(&mut self) {
        if self.switched {
            let _best_effort = fs::write(&self.path, "0");
            let _best_effort = pending().remove();
        }
    }
}

fn is_off(path: &Path) -> bool {
    fs::read(path).is_ok_and(|value| value.trim_ascii() == b"0")
}

fn turn(deadline: Deadline) -> Option<Guard> {
    PidLock::at(directory().join("promote_secondaries.lock")).lock_until(deadline.instant()).ok()
}

fn directory() -> PathBuf {
    Path::new(RUN_DIRECTORY).join("vip")
}

/// Holds the path of a switch that is on only for now.
fn pending() -> StateFile {
    StateFile::new(directory().join("promote_secondaries.pending"))
}

fn switch_back() {
    if let Ok(Some(path)) = pending().load::<PathBuf>() {
        let _best_effort = fs::write(path, "0");
    }
    let _best_effort = pending().remove();
}
