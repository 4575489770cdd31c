//! Where the agents of this workspace are, built.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// The directory that holds `vip-agent` and its fellows, built now if need be, once in each process. The environment
/// variable `BASCULE_AGENTS_DIR` names another one, which is taken as it is.
///
/// # Panics
/// If `make build` fails.
#[must_use]
pub fn agents_dir() -> PathBuf {
    static BUILT: OnceLock<Result<PathBuf>> = OnceLock::new();
    match BUILT.get_or_init(find) {
        Ok(directory) => directory.clone(),
        Err(error) => panic!("the agents cannot be built: {error:#}"),
    }
}

fn find() -> Result<PathBuf> {
    if let Some(directory) = std::env::var_os("BASCULE_AGENTS_DIR") {
        return Ok(directory.into());
    }
    let root =
        Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("the package has no workspace above it")?;
    let output =
        Command::new("make").args(["-s", "build"]).current_dir(root).output().context("cannot run make")?;
    if !output.status.success() {
        bail!("`make build` in {}: {}", root.display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(root.join("target/agents"))
}
