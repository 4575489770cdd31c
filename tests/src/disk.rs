//! A machine's disk, as seen from outside: an overlay over the host's root, mounted by the switch.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use nix::unistd::{Group, User};

/// The file tree of a machine, on or off.
///
/// Paths lead through `/proc/PID/root`, where an absolute symbolic link would lead back to the host: only directories
/// that are real ones on every distribution (`/etc`, `/usr/sbin`, `/var/lib`, `/var/log`) are used.
#[derive(Clone)]
pub(crate) struct Disk {
    root: PathBuf,
}

impl Disk {
    pub(crate) fn new(root: PathBuf) -> Self {
        Self { root }
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    pub(crate) fn read(&self, path: &str) -> Result<String> {
        let path = self.path(path);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    pub(crate) fn write(&self, path: &str, bytes: &[u8], mode: u32) -> Result<()> {
        let path = self.path(path);
        let write = || -> std::io::Result<()> {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            // Never with wider permissions than asked, not even for a moment.
            let _ = fs::remove_file(&path);
            fs::write(&path, [])?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            fs::write(&path, bytes)
        };
        write().with_context(|| format!("cannot write {}", path.display()))
    }

    /// Removes what the host has in a directory, if it has it; the directory itself stays, with its owner and mode.
    pub(crate) fn empty(&self, path: &str) -> Result<()> {
        let path = self.path(path);
        let empty = || -> std::io::Result<()> {
            for entry in fs::read_dir(&path)? {
                let entry = entry?;
                if entry.file_type()?.is_dir() {
                    fs::remove_dir_all(entry.path())?;
                } else {
                    fs::remove_file(entry.path())?;
                }
            }
            Ok(())
        };
        if path.is_dir() {
            empty().with_context(|| format!("cannot empty {}", path.display()))
        } else {
            Ok(())
        }
    }

    pub(crate) fn own(&self, path: &str, user: &str, group: &str) -> Result<()> {
        let uid =
            User::from_name(user)?.with_context(|| format!("no user {user}: is Pacemaker installed?"))?.uid;
        let gid = Group::from_name(group)?
            .with_context(|| format!("no group {group}: is Pacemaker installed?"))?
            .gid;
        chown(self.path(path), Some(uid.as_raw()), Some(gid.as_raw()))
            .with_context(|| format!("cannot give {path} to {user}:{group}"))
    }

    /// Installs the agents built in `directory` (`vip-agent`, …) under the names that the cluster uses (`vip`, …).
    pub(crate) fn install_agents(&self, directory: &Path) -> Result<()> {
        let listing = || format!("cannot read the agents' directory {}", directory.display());
        for entry in fs::read_dir(directory).with_context(listing)? {
            let entry = entry.with_context(listing)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if let Some(agent) = name.strip_suffix("-agent") {
                self.install_agent(agent, &entry.path())?;
            }
        }
        Ok(())
    }

    /// Installs the program at `path` under this name.
    pub(crate) fn install_agent(&self, name: &str, path: &Path) -> Result<()> {
        let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.write(&format!("/usr/lib/ocf/resource.d/bascule/{name}"), &bytes, 0o755)
    }
}
