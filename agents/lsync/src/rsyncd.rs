//! The text of the rsync daemon's configuration. A value that would mean something else to the daemon than it says is
//! refused with a reason: the daemon itself takes any garbage without a word and serves what it understood. Pure.
//!
//! What it makes of a value (`params.c` and `loadparm.c` of rsync, and seen with 3.5.0): the line ends it, or goes on where a
//! backslash is last; carriage returns vanish, blanks at the end too; `%NAME%` becomes the variable NAME of the environment
//! and, whatever the manual says, `%%` stays two; `/./` in a path splits it.

use std::fmt::Write as _;
use std::path::Path;

/// Longer ones are no paths on Linux.
const LONGEST: usize = 4000;

/// What one dataset lets in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Modules<'a> {
    /// Name of the dataset and of its module.
    pub(crate) name: &'a str,
    /// Name of the module for questions.
    pub(crate) control: &'a str,
    /// The tree.
    pub(crate) tree: &'a Path,
    /// Where answers are written.
    pub(crate) answers: &'a Path,
    /// The file with the secrets of both modules.
    pub(crate) secrets: &'a Path,
    /// This program, which answers.
    pub(crate) agent: &'a Path,
    /// Who may push: the user name of the one generation that is let in, if any is.
    pub(crate) pusher: Option<&'a str>,
    /// Who may ask.
    pub(crate) asker: &'a str,
    /// Seconds for which a transfer may stand still.
    pub(crate) timeout: u64,
}

/// The name of a dataset's module for questions.
pub(crate) fn control_module(dataset: &str) -> String {
    format!("{dataset}.control")
}

/// Whether the modules of two datasets would be the same one for rsync, to which upper case and lower case are alike.
pub(crate) fn collide(one: &str, other: &str) -> bool {
    let modules = |dataset: &str| [dataset.to_owned(), control_module(dataset)];
    let theirs = modules(other);
    modules(one).iter().any(|module| theirs.iter().any(|it| it.eq_ignore_ascii_case(module)))
}

/// The daemon's own configuration: everything else is included, one file for each dataset.
///
/// # Errors
/// A path cannot be written there.
pub(crate) fn daemon(log: &Path, modules: &Path) -> Result<String, String> {
    // The rest of an `&include` line is taken as it is, but a blank at its end would be lost there too.
    let (log, modules) =
        (plain_path("the log file", log)?, plain_path("the directory of the modules", modules)?);
    Ok(format!(
        "# Made by ocf:bascule:lsync for all its datasets on this port; read anew for every connection.\n\
         log file = {log}\n\
         reverse lookup = no\n\
         socket options = TCP_NODELAY\n\
         max connections = 0\n\
         uid = 0\n\
         gid = 0\n\
         use chroot = yes\n\
         numeric ids = yes\n\
         munge symlinks = no\n\
         list = no\n\
         strict modes = yes\n\
         transfer logging = no\n\
         dont compress = *\n\
         &include {modules}\n"
    ))
}

/// The modules of one dataset: for questions always, for the tree only while a generation is let in.
///
/// # Errors
/// The dataset's name or a path cannot be expressed; the reason says which and why.
pub(crate) fn modules(it: &Modules<'_>) -> Result<String, String> {
    module_name(it.name)?;
    module_name(it.control)?;
    let secrets = plain_path("the file of secrets", it.secrets)?;
    let timeout = it.timeout.max(1);
    let mut text = format!(
        "# Made by ocf:bascule:lsync; replaced as a whole whenever another generation is let in.\n\
         [{}]\n\
         path = {}\n\
         read only = yes\n\
         auth users = {}\n\
         secrets file = {secrets}\n\
         timeout = {timeout}\n\
         log file = /dev/null\n\
         pre-xfer exec = exec {} answer {}\n",
        it.control,
        plain_path("the directory of answers", it.answers)?,
        it.asker,
        word("the agent", it.agent.to_str().ok_or("the path of the agent is not UTF-8")?)?,
        word("the dataset", it.name)?,
    );
    if let Some(pusher) = it.pusher {
        let _infallible = write!(
            text,
            "\n[{}]\npath = {}\nread only = no\nauth users = {pusher}\nsecrets file = {secrets}\ntimeout = {timeout}\n",
            it.name,
            plain_path("source", it.tree)?,
        );
    }
    Ok(text)
}

/// A dataset's name as the name of a module.
fn module_name(name: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-:.%".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(format!(
            "{name:?} cannot be the name of an rsync module: name the resource with letters and digits"
        ));
    }
    // It would not be a module, but set defaults for all others.
    if name.eq_ignore_ascii_case("global") {
        return Err(format!("{name:?} means something else to rsync: give the resource another name"));
    }
    Ok(())
}

/// A path that the daemon takes for this very path.
fn plain_path(what: &str, path: &Path) -> Result<String, String> {
    let refused = |why: &str| Err(format!("{what} {path:?} cannot be given to the rsync daemon: {why}"));
    let Some(text) = path.to_str() else { return refused("it is not UTF-8") };
    if !text.starts_with('/') {
        return refused("it is not absolute");
    }
    if text.len() > LONGEST {
        return refused("it is too long");
    }
    if text.chars().any(char::is_control) {
        return refused("it holds a control character, which would end the line or vanish");
    }
    if format!("{text}/").contains("/./") || format!("{text}/").contains("/../") {
        return refused("it holds /./ or /../; write it without");
    }
    if expands(text) {
        return refused("it holds %NAME%, which rsync replaces by a variable, or %%");
    }
    // A blank at the end is dropped, and a backslash joins the next line; a slash after them is dropped instead.
    Ok(if text.ends_with([' ', '\\']) { format!("{text}/") } else { text.to_owned() })
}

/// Whether rsync might replace a part of it: what is between two `%` and begins with a capital letter. Two hex digits are let
/// through: that is how names with other than plain characters are written, and no variable is called so.
fn expands(text: &str) -> bool {
    let parts: Vec<&str> = text.split('%').collect();
    let between = parts.get(1..parts.len().saturating_sub(1)).unwrap_or(&[]);
    let hex = |part: &str| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit());
    between.iter().any(|part| part.is_empty() || part.starts_with(|c: char| c.is_uppercase()) && !hex(part))
}

/// One word of a command line that the daemon gives to a shell. The quotes end and begin anew after each `%`, so that no two of them
/// enclose the name of a variable.
fn word(what: &str, text: &str) -> Result<String, String> {
    if text.chars().any(char::is_control) || text.len() > LONGEST {
        return Err(format!(
            "{what} {text:?} cannot be given to the rsync daemon: it holds a control character"
        ));
    }
    let mut word = String::from("'");
    for c in text.chars() {
        match c {
            '\'' => word.push_str("'\\''"),
            '%' => word.push_str("%''"),
            other => word.push(other),
        }
    }
    word.push('\'');
    Ok(word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain() -> Modules<'static> {
        Modules {
            name: "site5",
            control: "site5.control",
            tree: Path::new("/site/cluster5"),
            answers: Path::new("/run/answers"),
            secrets: Path::new("/run/site5.secrets"),
            agent: Path::new("/usr/lib/ocf/resource.d/bascule/lsync"),
            pusher: Some("g7-00000000000000ff"),
            asker: "control",
            timeout: 60,
        }
    }

    fn of_tree(tree: &str) -> Result<String, String> {
        modules(&Modules { tree: Path::new(tree), ..plain() })
    }

    #[test]
    fn the_tree_is_there_only_while_a_generation_is_let_in() {
        let open = modules(&plain()).unwrap();
        assert!(open.contains(
            "\n[site5]\npath = /site/cluster5\nread only = no\nauth users = g7-00000000000000ff\n"
        ));
        let closed = modules(&Modules { pusher: None, ..plain() }).unwrap();
        assert!(closed.contains("[site5.control]\n") && !closed.contains("[site5]\n"), "{closed}");
        assert!(!closed.contains("read only = no"));
    }

    #[test]
    fn values_that_would_mean_something_else_are_refused() {
        for tree in [
            "relative",
            "/a\nread only = no",
            "/a\r",
            "/a\u{0}b",
            "/a/./b",
            "/a/.",
            "/a/../b",
            "/a/..",
            "/%HOME%",
            "/100%%",
            "/%RSYNC_USER_NAME%/x",
            "/a\u{7f}",
            "/\u{85}",
        ] {
            let refused = of_tree(tree).unwrap_err();
            assert!(refused.contains("source") && !refused.contains('\n'), "{refused}");
        }
        use std::os::unix::ffi::OsStrExt as _;
        let bytes = Path::new(std::ffi::OsStr::from_bytes(b"/\xff"));
        assert!(modules(&Modules { tree: bytes, ..plain() }).unwrap_err().contains("UTF-8"));
        for name in ["", "a b", "a]", "a\nb", "global", "GLOBAL", "a/b", "#a", "a~"] {
            assert!(modules(&Modules { name, ..plain() }).is_err(), "{name:?}");
        }
    }

    #[test]
    fn harmless_values_stay_as_they_are() {
        for tree in [
            "/a b  c", "/a#b", "/a]b[c", "/a;b=c", "/a\"b'c", "/a\\b", "/50%", "/a%2Fb", "/%C3%A9",
            "/.a/..b", "/é",
        ] {
            assert!(of_tree(tree).unwrap().contains(&format!("path = {tree}\n")), "{tree}");
        }
        assert!(of_tree("/a ").unwrap().contains("path = /a /\n"));
        assert!(of_tree("/a\\").unwrap().contains("path = /a\\/\n"));
    }

    proptest! {
        /// Whatever is let through: the file has the lines that it has with a plain value, each value on its own line.
        #[test]
        fn no_value_adds_or_joins_lines(tree in "/.*", agent in "/.*", name in "[a-zA-Z0-9%:._-]{1,20}") {
            let it = Modules { tree: Path::new(&tree), agent: Path::new(&agent), name: &name, ..plain() };
            if let Ok(text) = modules(&it) {
                prop_assert_eq!(text.lines().count(), modules(&plain()).unwrap().lines().count());
                for line in text.lines() {
                    prop_assert!(!line.ends_with('\\') && !line.ends_with(' '), "{:?}", line);
                }
                let path = text.lines().rfind(|line| line.starts_with("path = ")).unwrap();
                prop_assert_eq!(path["path = ".len()..].trim_end_matches('/'), tree.trim_end_matches('/'));
            }
        }

        /// As the daemon expands variables: what begins with `%` and a capital letter, up to the next `%`.
        #[test]
        fn no_variable_is_left_in_a_word(agent in "/[A-Z%']{0,12}") {
            let word = word("x", &agent).unwrap();
            let mut rest = word.as_str();
            while let Some(at) = rest.find('%') {
                rest = &rest[at + 1..];
                prop_assert!(!rest.starts_with(|c: char| c.is_ascii_uppercase()), "{}", word);
            }
        }
    }
}
