//! Words of the configuration, with those of included files in their place.
//!
//! As in csync2 the inclusion happens here, below the grammar: `config FILE;` may stand anywhere, even within a statement.

use std::sync::Arc;

use crate::{At, Problem, Text};

/// How deep csync2 lets inclusions nest.
const DEPTH: usize = 10;
/// Our own limit, so that a file that includes another twenty times, which … has an end.
const INCLUSIONS: usize = 1000;

/// A word that means something to csync2 where it stands without quotes.
macro_rules! keywords {
    ($($name:ident $word:literal),* $(,)?) => {
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Keyword { $($name),* }

        impl Keyword {
            pub(super) fn of(word: &[u8]) -> Option<Self> {
                $(if word == $word.as_bytes() { return Some(Self::$name); })*
                None
            }

            pub(super) fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

keywords! {
    NoSsl "nossl", Ignore "ignore", Database "database", Group "group", Host "host", Exclude "exclude", Include "include",
    Compare "compare", Key "key", Auto "auto", Action "action", Pattern "pattern", Exec "exec", Logfile "logfile",
    DoLocal "do-local", DoLocalOnly "do-local-only", Prefix "prefix", On "on", LockTimeout "lock-timeout", Tempdir "tempdir",
    BackupDirectory "backup-directory", BackupGenerations "backup-generations", NoCygwin "no-cygwin-lowercase",
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Token {
    /// `{`
    Open,
    /// `}`
    Close,
    /// `(`
    ParenOpen,
    /// `)`
    ParenClose,
    /// `;`
    End,
    /// `:`
    Colon,
    /// `@`
    AtSign,
    Keyword(Keyword),
    Word(Text),
}

pub(super) struct Lexed {
    pub(super) tokens: Vec<(Token, At)>,
    pub(super) files: Vec<Arc<str>>,
    pub(super) problems: Vec<Problem>,
    /// Where the configuration ends.
    pub(super) end: At,
}

/// The same characters end a word everywhere.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\r' | b'\n' | b'\t' | b'@' | b';' | b'(' | b')' | b'#' | b'"')
}

/// Can it be written without quotes?
pub(super) fn is_plain(word: &[u8]) -> bool {
    !word.iter().any(|byte| ends_word(*byte))
        && word.last().is_some_and(|last| *last != b':')
        && word != b"{"
        && word != b"}"
        && word != b"config"
        && Keyword::of(word).is_none()
}

pub(super) fn lex(path: &Text, read: &mut dyn FnMut(&Text) -> Result<Vec<u8>, String>) -> Lexed {
    let at = At { file: path.to_string().into(), line: 1 };
    let lexed = Lexed { tokens: Vec::new(), files: Vec::new(), problems: Vec::new(), end: at.clone() };
    let mut lexer = Lexer { lexed, read, inclusions: 0, given_up: false };
    lexer.file(path, &at, 0);
    lexer.lexed
}

struct Lexer<'a> {
    lexed: Lexed,
    read: &'a mut dyn FnMut(&Text) -> Result<Vec<u8>, String>,
    inclusions: usize,
    /// Nested too deeply: csync2 ends there, and what the rest would include has no end.
    given_up: bool,
}

/// The text of one file and how far it was read.
struct Cursor<'a> {
    rest: &'a [u8],
    at: At,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Takes `length` bytes and counts their lines.
    fn take(&mut self, length: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at_checked(length).unwrap_or((self.rest, &[]));
        self.rest = rest;
        let lines = taken.iter().filter(|byte| **byte == b'\n').count();
        self.at.line = self.at.line.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        taken
    }

    /// Takes bytes as long as they are `wanted`.
    fn take_while(&mut self, wanted: impl Fn(u8) -> bool) -> &'a [u8] {
        let length = self.rest.iter().position(|byte| !wanted(*byte)).unwrap_or(self.rest.len());
        self.take(length)
    }
}

impl Lexer<'_> {
    fn push(&mut self, token: Token, at: &At) {
        self.lexed.tokens.push((token, at.clone()));
    }

    fn file(&mut self, path: &Text, from: &At, depth: usize) {
        let contents = match (self.read)(path) {
            Ok(contents) => contents,
            Err(reason) => {
                let text = format!("cannot read {path}: {reason}");
                return self.lexed.problems.push(Problem::error(from, text));
            }
        };
        let file: Arc<str> = path.to_string().into();
        if !self.lexed.files.contains(&file) {
            self.lexed.files.push(Arc::clone(&file));
        }
        let mut cursor = Cursor { rest: &contents, at: At { file, line: 1 } };
        if let Some(position) = contents.iter().position(|byte| *byte == 0) {
            cursor.take(position);
            let text = "a NUL byte: this is not a text file, write it anew";
            return self.lexed.problems.push(Problem::error(&cursor.at, text));
        }
        self.tokens(&mut cursor, depth);
        if depth == 0 {
            self.lexed.end = cursor.at;
        }
    }

    fn tokens(&mut self, cursor: &mut Cursor<'_>, depth: usize) {
        while let Some(byte) = cursor.peek() {
            let at = cursor.at.clone();
            let single = match byte {
                b' ' | b'\r' | b'\n' | b'\t' => {
                    cursor.take(1);
                    continue;
                }
                b'#' => {
                    cursor.take_while(|byte| !matches!(byte, b'\r' | b'\n'));
                    continue;
                }
                b'"' => {
                    self.quoted(cursor, &at);
                    continue;
                }
                b';' => Some(Token::End),
                b'@' => Some(Token::AtSign),
                b'(' => Some(Token::ParenOpen),
                b')' => Some(Token::ParenClose),
                _ => None,
            };
            if let Some(token) = single {
                cursor.take(1);
                self.push(token, &at);
                continue;
            }
            // A word may have colons in it, but not as its end: `on host: /path`, but `a:b` is one word.
            let run = cursor.rest.iter().position(|byte| ends_word(*byte)).unwrap_or(cursor.rest.len());
            let run = cursor.rest.get(..run).unwrap_or_default();
            let length = run.iter().rposition(|byte| *byte != b':').map_or(0, |last| last + 1);
            if length == 0 {
                cursor.take(1);
                self.push(Token::Colon, &at);
                continue;
            }
            match cursor.take(length) {
                b"{" => self.push(Token::Open, &at),
                b"}" => self.push(Token::Close, &at),
                b"config" => self.inclusion(cursor, depth),
                word => {
                    let token = Keyword::of(word).map_or_else(|| Token::Word(word.into()), Token::Keyword);
                    self.push(token, &at);
                }
            }
        }
    }

    fn quoted(&mut self, cursor: &mut Cursor<'_>, at: &At) {
        cursor.take(1);
        let word = cursor.take_while(|byte| byte != b'"');
        if word.is_empty() && cursor.peek().is_some() {
            let text = "`\"\"` is nothing to csync2, not an empty word: remove it";
            self.lexed.problems.push(Problem::warning(at, text));
        } else if !word.is_empty() {
            self.push(Token::Word(word.into()), at);
        }
        if cursor.peek().is_none() {
            let text = "the quotation mark here opens what is never closed: everything behind it is taken as one word";
            self.lexed.problems.push(Problem::warning(at, text));
        }
        cursor.take(1);
    }

    /// What follows `config`, up to and with the `;`: csync2 takes any number of names, without quotes or comments.
    fn inclusion(&mut self, cursor: &mut Cursor<'_>, depth: usize) {
        let mut names = 0;
        loop {
            cursor.take_while(|byte| matches!(byte, b' ' | b'\t'));
            let at = cursor.at.clone();
            match cursor.peek() {
                None => return,
                Some(b';') => {
                    cursor.take(1);
                    if names == 0 {
                        let text = "`config` without a file includes nothing: name one or remove it";
                        self.lexed.problems.push(Problem::warning(&at, text));
                    }
                    return;
                }
                Some(b'\r' | b'\n') => {
                    cursor.take_while(|byte| matches!(byte, b'\r' | b'\n'));
                    let text = "a line break within `config FILE;`: csync2 prints it on its output, even to its peers. \
                                Put it on one line";
                    self.lexed.problems.push(Problem::warning(&at, text));
                }
                Some(_) => {
                    let name = Text::from(
                        cursor.take_while(|byte| !matches!(byte, b' ' | b'\t' | b'\r' | b'\n' | b';')),
                    );
                    names += 1;
                    self.include(&name, &at, depth);
                }
            }
        }
    }

    fn include(&mut self, name: &Text, at: &At, depth: usize) {
        if self.given_up {
            return;
        }
        self.inclusions += 1;
        if depth >= DEPTH || self.inclusions > INCLUSIONS {
            self.given_up = true;
            let text = if depth >= DEPTH {
                format!(
                    "`config {name}` is nested more than {DEPTH} files deep (does a file include itself?)"
                )
            } else {
                format!("more than {INCLUSIONS} files are included")
            };
            return self.lexed.problems.push(Problem::error(at, text));
        }
        self.file(name, at, depth + 1);
        if name.bytes().contains(&b'"') {
            let text = format!("`config` takes the name as it stands, quotation marks too: {name}");
            self.lexed.problems.push(Problem::warning(at, text));
        }
    }
}
