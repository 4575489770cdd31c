//! Versions that lose a conflict are kept before they are overwritten: `BACKUP_DIR/TIME-NODE-GROUP/PATH`.

use crate::configuration::{path, private_directory};
use csync2::Text;
use ocf::Failure;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// Copies a file, or what a symbolic link says, and returns where it is. `time` is for the name of the directory.
///
/// # Errors
/// It cannot be read or kept.
pub(crate) fn keep(
    file: &Path,
    backup_dir: &Path,
    time: &str,
    host: &Text,
    group: &Text,
) -> Result<PathBuf, Failure> {
    let failed = |error: std::io::Error| Failure::generic(format!("keeping {}: {error}", file.display()));
    let directory = backup_dir.join(format!("{time}-{}-{}", name(host), name(group)));
    let relative = file.strip_prefix("/").unwrap_or(file);
    let place = free(&directory, relative)?;
    let found = fs::symlink_metadata(file).map_err(failed)?;
    if found.is_symlink() {
        symlink(fs::read_link(file).map_err(failed)?, &place).map_err(failed)?;
    } else if found.is_file() {
        fs::copy(file, &place).map_err(failed)?;
        let modified = found.modified().map_err(failed)?;
        fs::File::options()
            .write(true)
            .open(&place)
            .and_then(|copy| copy.set_modified(modified))
            .map_err(failed)?;
    }
    Ok(place)
}

/// A place below a directory where nothing is, or below one beside it: there may be another version of the same second, or a file where this one
/// has a directory.
///
/// # Errors
/// No directory can be made.
pub(crate) fn free(directory: &Path, relative: &Path) -> Result<PathBuf, Failure> {
    let mut place = directory.join(relative);
    let mut another = 0;
    loop {
        let above = place.parent().map(Path::to_owned).unwrap_or_default();
        match private_directory(&above) {
            Ok(()) if fs::symlink_metadata(&place).is_err() => return Ok(place),
            Err(failure) if another >= 1000 => return Err(failure),
            _ => {}
        }
        another += 1;
        let mut beside = directory.as_os_str().to_owned();
        beside.push(format!(".{another}"));
        place = PathBuf::from(beside).join(relative);
    }
}

fn name(text: &Text) -> String {
    ocf::file_name(&path(text).to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_version_is_kept_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let (file, link) = (directory.path().join("etc/f"), directory.path().join("etc/l"));
        fs::create_dir(directory.path().join("etc")).unwrap();
        fs::write(&file, "mine").unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
        symlink("f", &link).unwrap();
        let kept = directory.path().join("kept");
        let keep = |file: &Path| {
            keep(file, &kept, "20261121T170000Z", &Text::from("n1"), &Text::from("g/1")).unwrap()
        };
        let place = keep(&file);
        assert_eq!(fs::read_to_string(&place).unwrap(), "mine");
        assert!(place.starts_with(kept.join(format!("20261121T170000Z-n1-{}", ocf::file_name("g/1")))));
        let modified = |file: &Path| fs::metadata(file).unwrap().modified().unwrap();
        assert_eq!(modified(&place), modified(&file));
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o640);
        assert_eq!(fs::read_link(keep(&link)).unwrap(), Path::new("f"));
        assert!(
            super::keep(&directory.path().join("none"), &kept, "t", &Text::from("h"), &Text::from("g"))
                .is_err()
        );
    }
}
