//! The other mirrors that are started on this node. None may lie in another: the outer one would mirror and delete what is the inner
//! one's own, which has a source of its own, on another node perhaps.

use crate::excludes::Excludes;
use crate::lsync::Started;
use crate::settings::Settings;
use ocf::{Call, Code, Failure, StateFile};
use std::fs;
use std::path::{Path, PathBuf};

/// That no other mirror's tree is this one's, in it, or around it; unless the outer one's `exclude` leaves the inner one alone.
///
/// # Errors
/// Which one is.
pub(crate) fn none_overlaps(call: &Call, source: &Path, exclude: &[String]) -> Result<(), Failure> {
    let me = ocf::file_name(call.resource());
    started(&call.run_directory())
        .iter()
        .filter(|other| other.dataset != me)
        .find_map(|other| overlap(source, exclude, other))
        .map_or(Ok(()), |reason| Err(Failure::new(Code::Args, reason)))
}

/// What is started in this directory. (Settings stay after a stop; what cannot be read is told by its own actions.)
fn started(directory: &Path) -> Vec<Settings> {
    let Ok(entries) = fs::read_dir(directory) else { return Vec::new() };
    let names = entries.flatten().filter_map(|entry| {
        let path = entry.path();
        (path.extension()? == "json").then(|| path.file_stem().map(ToOwned::to_owned))?
    });
    names
        .filter_map(|name| {
            let file = |suffix: &str| {
                let mut name = name.clone();
                name.push(suffix);
                directory.join(name)
            };
            StateFile::new(file(".json")).load::<Started>().ok()??;
            StateFile::new(file(".d").join("settings.json")).load::<Settings>().ok()?
        })
        .collect()
}

/// Why the two cannot be, if they cannot.
fn overlap(source: &Path, exclude: &[String], other: &Settings) -> Option<String> {
    let real = |path: &Path| fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let (ours, theirs): (PathBuf, PathBuf) = (real(source), real(&other.source));
    let in_it = |inner: &Path, outer: &Path, exclude: &[String]| {
        inner
            .strip_prefix(outer)
            .is_ok_and(|below| below.as_os_str().is_empty() || !Excludes::new(exclude).cover(below, true))
    };
    let how = if ours == theirs {
        "is"
    } else if in_it(&ours, &theirs, &other.exclude) {
        "lies in"
    } else if in_it(&theirs, &ours, exclude) {
        "holds"
    } else {
        return None;
    };
    let advice = match how {
        "is" => "expected a directory of its own for each",
        _ => "expected directories apart from each other, or exclude in the outer one for the inner one",
    };
    Some(format!(
        "source={} {how} the tree {} of {}: {advice}",
        source.display(),
        other.source.display(),
        other.dataset
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_are_apart() {
        let other = |source: &str, exclude: &[&str]| Settings {
            exclude: exclude.iter().map(ToString::to_string).collect(),
            ..Settings::example(Path::new(source))
        };
        let judged = |source: &str, exclude: &[&str], other: &Settings| {
            let exclude: Vec<String> = exclude.iter().map(ToString::to_string).collect();
            overlap(Path::new(source), &exclude, other)
        };
        assert_eq!(judged("/no/a", &[], &other("/no/b", &[])), None);
        assert_eq!(judged("/no/a", &[], &other("/no/ab", &[])), None);
        assert!(
            judged("/no/a", &[], &other("/no/a", &["/"])).unwrap().contains("is the tree /no/a of site5")
        );
        assert!(judged("/no/a/b", &[], &other("/no/a", &[])).unwrap().contains("lies in"));
        assert!(judged("/no/a", &[], &other("/no/a/b", &[])).unwrap().contains("holds"));
        assert_eq!(judged("/no/a", &["/b/"], &other("/no/a/b", &[])), None);
        assert_eq!(judged("/no/a/b/c", &[], &other("/no/a", &["/b"])), None);
        assert!(
            judged("/no/a/b", &["/b"], &other("/no/a", &[])).is_some(),
            "the inner one's exclude is no help"
        );
        // By another name.
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir_all(directory.path().join("real/inner")).unwrap();
        std::os::unix::fs::symlink("real", directory.path().join("link")).unwrap();
        let real = other(directory.path().join("real").to_str().unwrap(), &[]);
        assert!(overlap(&directory.path().join("link/inner"), &[], &real).is_some());
    }
}
