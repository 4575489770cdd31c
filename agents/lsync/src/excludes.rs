//! rsync's exclude patterns, for the paths that lsyncd tells of: given a list of files, rsync looks at each name by itself, and sends
//! (or deletes!) what is below an excluded directory. Pure. A test compares it with rsync itself.

use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A tree's exclude patterns.
#[derive(Clone, Debug, Default)]
pub(crate) struct Excludes(Vec<Pattern>);

#[derive(Clone, Debug)]
struct Pattern {
    /// Without the trailing slash that restricts it to directories, and without the leading one that anchors it.
    text: Vec<u8>,
    /// Began with a slash: matches from the root of the tree on.
    anchored: bool,
    /// Ended in a slash: matches directories alone.
    directory: bool,
    /// Holds `*`, `?` or `[`.
    wild: bool,
    /// Holds `**`, which matches slashes too.
    wild2: bool,
    /// Begins with `**`.
    wild2_prefix: bool,
    /// Ends in `/***`, which matches the directory and all in it.
    wild3_suffix: bool,
    /// Slashes in it (a trailing one not counted).
    slashes: usize,
}

impl Excludes {
    /// The patterns, as rsync's `--exclude` takes them.
    pub(crate) fn new(patterns: &[String]) -> Self {
        Excludes(
            patterns.iter().filter(|pattern| !pattern.is_empty()).map(|text| Pattern::new(text)).collect(),
        )
    }

    /// Whether a path (relative to the root of the tree, not beginning with a slash) is not mirrored: it, or a directory above it, matches.
    pub(crate) fn cover(&self, path: &Path, directory: bool) -> bool {
        let bytes = path.as_os_str().as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| (at, true));
        ends.chain([(bytes.len(), directory)])
            .any(|(end, directory)| self.0.iter().any(|pattern| pattern.matches(&bytes[..end], directory)))
    }
}

impl Pattern {
    /// As `parse_filter_str` and `add_rule` in rsync's exclude.c take it apart.
    fn new(text: &str) -> Self {
        let mut bytes = text.as_bytes();
        let wild = bytes.iter().any(|byte| b"*?[".contains(byte));
        let wild2 = wild && text.contains("**");
        let wild3_suffix = wild2 && bytes.ends_with(b"***") && bytes.len() > 3;
        let directory = bytes.len() > 1 && bytes.ends_with(b"/");
        if directory {
            bytes = &bytes[..bytes.len() - 1];
        }
        let slashes = bytes.iter().filter(|byte| **byte == b'/').count();
        let anchored = bytes.starts_with(b"/");
        if anchored {
            bytes = &bytes[1..];
        }
        Pattern {
            wild2_prefix: wild2 && text.starts_with("**"),
            text: bytes.to_vec(),
            anchored,
            directory,
            wild,
            wild2,
            wild3_suffix,
            slashes,
        }
    }

    /// As `rule_matches` there.
    fn matches(&self, path: &[u8], directory: bool) -> bool {
        if path.is_empty() || self.directory && !directory {
            return false;
        }
        let mut subject = if self.slashes == 0 && !self.wild2 {
            path.rsplit(|byte| *byte == b'/').next().unwrap_or(path).to_vec()
        } else if self.wild2_prefix {
            // So that a leading `**/` matches at the root too.
            [b"/", path].concat()
        } else {
            path.to_vec()
        };
        if directory && self.wild3_suffix {
            subject.push(b'/');
        }
        if !self.wild {
            return if self.anchored {
                subject == self.text
            } else {
                subject.ends_with(&self.text)
                    && (subject.len() == self.text.len()
                        || subject[subject.len() - self.text.len() - 1] == b'/')
            };
        }
        if !self.anchored && self.slashes > 0 && !self.wild2 {
            // The last names, as many as the pattern has.
            let starts = subject.iter().enumerate().rev().filter(|(_, byte)| **byte == b'/');
            let mut starts = starts.map(|(at, _)| at + 1).chain([0]);
            return starts.nth(self.slashes).is_some_and(|start| wild_match(&self.text, &subject[start..]));
        }
        if wild_match(&self.text, &subject) {
            return true;
        }
        let anywhere = !self.anchored && self.wild2 && !self.wild2_prefix;
        anywhere
            && subject
                .iter()
                .enumerate()
                .any(|(at, byte)| *byte == b'/' && wild_match(&self.text, &subject[at + 1..]))
    }
}

/// As rsync's wildmatch.c: `*` and `?` and `[…]` match no slash, `**` does, a backslash takes the next byte as it is.
fn wild_match(pattern: &[u8], text: &[u8]) -> bool {
    let Some((first, rest)) = pattern.split_first() else { return text.is_empty() };
    match first {
        b'*' => {
            let slashes_too = rest.first() == Some(&b'*');
            let after = &pattern[pattern.iter().take_while(|byte| **byte == b'*').count()..];
            if after.is_empty() {
                return slashes_too || !text.contains(&b'/');
            }
            let reach = if slashes_too {
                text.len()
            } else {
                text.iter().position(|byte| *byte == b'/').unwrap_or(text.len())
            };
            (0..=reach).any(|skip| wild_match(after, &text[skip..]))
        }
        b'?' => text.first().is_some_and(|byte| *byte != b'/') && wild_match(rest, &text[1..]),
        b'[' => match (class(rest, text.first().copied()), text.first()) {
            (Some((true, length)), Some(_)) => wild_match(&rest[length..], &text[1..]),
            _ => false,
        },
        b'\\' => match rest.split_first() {
            Some((literal, rest)) => text.first() == Some(literal) && wild_match(rest, &text[1..]),
            None => false,
        },
        literal => text.first() == Some(literal) && wild_match(rest, &text[1..]),
    }
}

/// Whether a byte is in the class that follows a `[`, and how long the class is; `None` if it has no end.
fn class(pattern: &[u8], byte: Option<u8>) -> Option<(bool, usize)> {
    let mut at = 0;
    let negated = matches!(pattern.first()?, b'!' | b'^');
    if negated {
        at += 1;
    }
    let (mut found, mut previous, mut first) = (false, 0u8, true);
    let byte = byte.unwrap_or(b'/');
    loop {
        let mut here = *pattern.get(at)?;
        if here == b']' && !first {
            break;
        }
        first = false;
        if here == b'\\' {
            at += 1;
            here = *pattern.get(at)?;
            found |= here == byte;
        } else if here == b'-' && previous != 0 && pattern.get(at + 1).is_some_and(|next| *next != b']') {
            at += 1;
            let mut end = pattern[at];
            if end == b'\\' {
                at += 1;
                end = *pattern.get(at)?;
            }
            found |= (previous..=end).contains(&byte);
            here = 0;
        } else if here == b'[' && pattern.get(at + 1) == Some(&b':') {
            let name_at = at + 2;
            let end = name_at + pattern[name_at..].iter().position(|byte| *byte == b']')?;
            match pattern[name_at..end].strip_suffix(b":") {
                Some(name) => {
                    found |= named_class(name, byte)?;
                    at = end;
                    here = 0;
                }
                None => found |= byte == b'[',
            }
        } else {
            found |= here == byte;
        }
        previous = here;
        at += 1;
    }
    Some((found != negated && byte != b'/', at + 1))
}

fn named_class(name: &[u8], byte: u8) -> Option<bool> {
    Some(match name {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => byte == b' ' || byte == b'\t',
        b"cntrl" => byte.is_ascii_control(),
        b"digit" => byte.is_ascii_digit(),
        b"graph" => byte.is_ascii_graphic(),
        b"lower" => byte.is_ascii_lowercase(),
        b"print" => byte.is_ascii_graphic() || byte == b' ',
        b"punct" => byte.is_ascii_punctuation(),
        b"space" => byte.is_ascii_whitespace() || byte == 0x0b,
        b"upper" => byte.is_ascii_uppercase(),
        b"xdigit" => byte.is_ascii_hexdigit(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;
    use std::fs;
    use std::process::Command;

    /// Paths with everything that patterns could tell apart.
    const PATHS: [&str; 22] = [
        "a",
        "b",
        "ab",
        "abc",
        "a.tmp",
        "x/",
        "x/a",
        "x/b",
        "x/a.tmp",
        "x/cache/",
        "x/cache/a",
        "x/cache/x/",
        "x/cache/x/a",
        "cache/",
        "cache/a",
        "cache/b/",
        "cache/b/c",
        "[a]",
        "*",
        "\\a",
        "x/-a",
        "x/]",
    ];

    fn by_rsync(pattern: &str) -> BTreeSet<String> {
        let root = tempfile::tempdir().unwrap();
        let source = root.path().join("s");
        for path in PATHS {
            let full = source.join(path);
            if path.ends_with('/') {
                fs::create_dir_all(full).unwrap();
            } else {
                fs::create_dir_all(full.parent().unwrap()).unwrap();
                fs::write(full, "").unwrap();
            }
        }
        let target = root.path().join("t");
        let status = Command::new("rsync")
            .arg("-r")
            .arg(format!("--filter={}", crate::transfer::exclude_rule(pattern)))
            .arg(format!("{}/", source.display()))
            .arg(&target)
            .status()
            .unwrap();
        assert!(status.success(), "{pattern:?}");
        PATHS
            .into_iter()
            .filter(|path| fs::symlink_metadata(target.join(path)).is_err())
            .map(String::from)
            .collect()
    }

    fn by_us(pattern: &str) -> BTreeSet<String> {
        let excludes = Excludes::new(&[pattern.to_owned()]);
        let covered =
            |path: &&str| excludes.cover(Path::new(path.trim_end_matches('/')), path.ends_with('/'));
        PATHS.into_iter().filter(covered).map(String::from).collect()
    }

    #[test]
    fn patterns_mean_what_they_mean_to_rsync() {
        let patterns = [
            "*.tmp",
            "cache/",
            "/cache",
            "x/cache",
            "x/*/x",
            "**/a",
            "x/**",
            "x/***",
            "/x/***",
            "**",
            "*",
            "?",
            "a?",
            "[ab]",
            "[!a]",
            "[a-b]",
            "[[:alpha:]]",
            "\\[a]",
            "[]]",
            "[a",
            "\\",
            "\\*",
            "\\a",
            "ca*/b",
            "/**/a",
            "cache/**",
            "**cache",
            "x**a",
            "! a",
            "- a",
            "+ a",
            "!",
            "/",
            "a/",
            "x/cache/",
            "*/",
            "/*/",
            "cache/b/c",
            "e/a",
            "[^x]/a",
            "[\\]]",
            "-a",
            "***",
            "x/**/a",
            "#a",
            "[b-]",
            "[-a]",
        ];
        for pattern in patterns {
            assert_eq!(by_us(pattern), by_rsync(pattern), "{pattern:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]
        #[test]
        fn any_pattern_means_what_it_means_to_rsync(pattern in "[ax*?/\\[\\]\\-!]{1,7}|(x|cache|a|b|/|\\*|\\*\\*|\\?){1,6}") {
            prop_assert_eq!(by_us(&pattern), by_rsync(&pattern), "{:?}", pattern);
        }
    }
}
