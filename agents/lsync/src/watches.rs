//! What inotify must allow for lsyncd to watch a tree: one watch for each directory. Counted only when it was not enough.

use std::fs;
use std::path::Path;
use walkdir::WalkDir;

/// Why lsyncd could not watch the tree, if that is what its log complains of: the kernel's setting, its value, and the value needed.
pub(crate) fn shortage(log: &str, root: &Path) -> Option<String> {
    match Lack::told_by(log)? {
        Lack::Watches => Some(watches(root, directories(root), limit("max_user_watches"))),
        Lack::Instances => Some(instances(limit("max_user_instances"))),
    }
}

/// What there was too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lack {
    Watches,
    Instances,
}

impl Lack {
    /// As lsyncd puts it (2.2 and 2.3).
    fn told_by(log: &str) -> Option<Self> {
        if log.contains("out of inotify watches") || log.contains("max_user_watches") {
            Some(Lack::Watches)
        } else if log.contains("Cannot access inotify monitor") || log.contains("max_user_instances") {
            Some(Lack::Instances)
        } else {
            None
        }
    }
}

fn watches(root: &Path, needed: u64, limit: u64) -> String {
    // Others of this user have watches too, and trees grow.
    let advised = needed.saturating_add(limit).max(needed.saturating_mul(2)).next_multiple_of(8192);
    format!(
        "{} has {needed} directories, each needs an inotify watch, and the kernel allows {limit} for all programs of root together: set \
         fs.inotify.max_user_watches to at least {needed} and what others use, such as sysctl -w fs.inotify.max_user_watches={advised}, \
         and in /etc/sysctl.d for the next boot",
        root.display()
    )
}

fn instances(limit: u64) -> String {
    format!(
        "lsyncd got no inotify instance, of which the kernel allows {limit} to all programs of root together: set \
         fs.inotify.max_user_instances to more, such as sysctl -w fs.inotify.max_user_instances={}, and in /etc/sysctl.d for the next boot",
        limit.saturating_mul(2).max(512)
    )
}

/// Whether the kernel allows fewer watches than the tree needs by itself. Walks it.
pub(crate) fn too_few(root: &Path) -> bool {
    limit("max_user_watches") < directories(root)
}

fn limit(name: &str) -> u64 {
    let text = fs::read_to_string(format!("/proc/sys/fs/inotify/{name}")).unwrap_or_default();
    text.trim().parse().unwrap_or(u64::MAX)
}

/// How many directories a tree has, as lsyncd watches them. Walks it.
pub(crate) fn directories(root: &Path) -> u64 {
    let private = root.join(crate::settings::TREE_PRIVATE);
    let walk = WalkDir::new(root).into_iter().filter_entry(|entry| entry.path() != private);
    walk.flatten().filter(|entry| entry.file_type().is_dir()).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lsyncd_says_is_understood() {
        let text = "Error: Terminating since out of inotify watches.\nConsider increasing /proc/sys/fs/inotify/max_user_watches\n";
        assert_eq!(Lack::told_by(text), Some(Lack::Watches));
        assert_eq!(
            Lack::told_by("Error: Cannot access inotify monitor! (24:Too many open files)"),
            Some(Lack::Instances)
        );
        assert_eq!(Lack::told_by("Normal: --- Startup ---"), None);
        assert_eq!(shortage("Normal: --- Startup ---", Path::new("/")), None);
    }

    #[test]
    fn the_number_that_is_needed_is_named() {
        let root = tempfile::tempdir().unwrap();
        for name in ["a/b", "c", ".bascule/local/saved/x"] {
            fs::create_dir_all(root.path().join(name)).unwrap();
        }
        std::os::unix::fs::symlink("/", root.path().join("link")).unwrap();
        assert_eq!(directories(root.path()), 5, "the root, a, a/b, c, .bascule");
        let text = watches(Path::new("/site"), 20_000, 8192);
        assert!(text.contains("20000 directories") && text.contains("max_user_watches=40960"), "{text}");
    }
}
