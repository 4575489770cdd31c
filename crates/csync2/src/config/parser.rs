//! The grammar over the words, with everything that is wrong found at once.
//!
//! After an error it goes on at the next `;`, `}` or statement, so that one slip is one problem, not ten.

mod group;

use super::lexer::{Keyword, Lexed, Token};
use super::{Config, NoSsl, Number, Prefix, PrefixPlace, Word};
use crate::{At, Problem, Text};

pub(super) fn parse(lexed: Lexed) -> (Config, Vec<Problem>) {
    let config = Config { files: lexed.files, ..Config::default() };
    let mut parser = Parser {
        tokens: lexed.tokens,
        position: 0,
        end: lexed.end,
        config,
        problems: lexed.problems,
        nameless: 0,
    };
    parser.blocks();
    (parser.config, parser.problems)
}

struct Parser {
    tokens: Vec<(Token, At)>,
    position: usize,
    end: At,
    config: Config,
    problems: Vec<Problem>,
    /// Groups without a name so far.
    nameless: usize,
}

/// How a token is named to a person.
fn show(token: Option<&Token>) -> String {
    match token {
        None => "the end of the file".into(),
        Some(Token::Open) => "`{`".into(),
        Some(Token::Close) => "`}`".into(),
        Some(Token::ParenOpen) => "`(`".into(),
        Some(Token::ParenClose) => "`)`".into(),
        Some(Token::End) => "`;`".into(),
        Some(Token::Colon) => "`:`".into(),
        Some(Token::AtSign) => "`@`".into(),
        Some(Token::Keyword(keyword)) => format!("`{}`", keyword.word()),
        Some(Token::Word(word)) => format!("`{word}`"),
    }
}

/// Braces are words to csync2 unless a space stands around them.
fn hint(token: Option<&Token>) -> &'static str {
    match token {
        Some(Token::Word(word)) if word.bytes().iter().any(|byte| matches!(byte, b'{' | b'}')) => {
            " (braces need a space before and after them)"
        }
        _ => "",
    }
}

/// C's `atoi`.
fn atoi(bytes: &[u8]) -> (i32, bool) {
    let text: String = bytes.iter().map(|byte| char::from(*byte)).collect();
    let trimmed = text.trim_start_matches([' ', '\t', '\n', '\r', '\x0b', '\x0c']);
    let (sign, digits) = match trimmed.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let end = digits.find(|character: char| !character.is_ascii_digit()).unwrap_or(digits.len());
    let (digits, rest) = digits.split_at(end);
    let value: i64 = if digits.is_empty() { 0 } else { digits.parse().unwrap_or(i64::from(i32::MAX)) };
    let value = i32::try_from(sign * value).unwrap_or(if sign < 0 { i32::MIN } else { i32::MAX });
    (value, !digits.is_empty() && rest.is_empty())
}

/// Without the slashes at its end.
fn without_slashes(text: &Text) -> Text {
    let bytes = text.bytes();
    let length = bytes.iter().rposition(|byte| *byte != b'/').map_or(bytes.len().min(1), |last| last + 1);
    Text::from(bytes.get(..length).unwrap_or(bytes))
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position).map(|(token, _)| token)
    }

    /// Where the next token stands, or where the configuration ends.
    fn at(&self) -> At {
        self.tokens.get(self.position).map_or_else(|| self.end.clone(), |(_, at)| at.clone())
    }

    /// Where the last token stands.
    fn before(&self) -> At {
        let last = self.position.checked_sub(1).and_then(|last| self.tokens.get(last));
        last.map_or_else(|| self.at(), |(_, at)| at.clone())
    }

    fn eat(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.position += usize::from(found);
        found
    }

    fn error(&mut self, at: &At, text: impl Into<String>) {
        self.problems.push(Problem::error(at, text));
    }

    fn warning(&mut self, at: &At, text: impl Into<String>) {
        self.problems.push(Problem::warning(at, text));
    }

    /// The next token is not what it should be.
    fn unexpected(&mut self, wanted: &str) {
        let (at, found, hint) = (self.at(), show(self.peek()), hint(self.peek()));
        let found = if let Some(Token::Keyword(keyword)) = self.peek() {
            format!(
                "{found}, a word of csync2's language (as a name it needs quotation marks: \"{}\")",
                keyword.word()
            )
        } else {
            found
        };
        self.error(&at, format!("{wanted} is expected, found is {found}{hint}"));
    }

    /// One word, or an error that says what it should be.
    fn word(&mut self, wanted: &str) -> Option<Word> {
        if let Some((Token::Word(text), at)) = self.tokens.get(self.position) {
            let word = Word { text: text.clone(), at: at.clone() };
            self.position += 1;
            return Some(word);
        }
        self.unexpected(wanted);
        None
    }

    fn words(&mut self) -> Vec<Word> {
        let mut words = Vec::new();
        while let Some((Token::Word(text), at)) = self.tokens.get(self.position) {
            words.push(Word { text: text.clone(), at: at.clone() });
            self.position += 1;
        }
        words
    }

    /// Goes behind the next `;`, or up to the end of the block.
    fn skip_statement(&mut self) {
        let mut depth = 0_usize;
        while let Some(token) = self.peek() {
            match token {
                Token::End if depth == 0 => {
                    self.position += 1;
                    return;
                }
                Token::Close if depth == 0 => return,
                // Nobody nests groups: the block before was not closed.
                Token::Keyword(Keyword::Group) => return,
                Token::Open => depth += 1,
                Token::Close => {
                    depth -= 1;
                    if depth == 0 {
                        self.position += 1;
                        return;
                    }
                }
                _ => {}
            }
            self.position += 1;
        }
    }

    /// The `;` of a statement whose words have been read.
    fn end_of(&mut self, statement: &str) {
        if self.eat(&Token::End) {
            return;
        }
        match self.peek() {
            // Another statement or the end of the block begins: only the `;` was forgotten.
            None | Some(Token::Close | Token::Keyword(_)) => {
                let (at, next) = (self.before(), show(self.peek()));
                let quotes = match self.peek() {
                    Some(Token::Keyword(keyword)) => format!(
                        " (or, if this `{0}` is a name and not the word of csync2's language, write \"{0}\")",
                        keyword.word()
                    ),
                    _ => String::new(),
                };
                self.error(&at, format!("`;` is missing at the end of `{statement}`, before {next}{quotes}"));
                if self.starts_no_statement() {
                    self.skip_statement();
                }
            }
            Some(_) => {
                let (at, found, hint) = (self.at(), show(self.peek()), hint(self.peek()));
                self.error(
                    &at,
                    format!("`;` is expected at the end of `{statement}`, found is {found}{hint}"),
                );
                self.skip_statement();
            }
        }
    }

    /// Is the keyword that comes next followed by the end of a statement, that is, hardly a statement itself?
    fn starts_no_statement(&self) -> bool {
        let keyword = match self.peek() {
            Some(Token::Keyword(keyword)) => *keyword,
            _ => return false,
        };
        let alone = matches!(keyword, Keyword::DoLocal | Keyword::DoLocalOnly | Keyword::NoCygwin);
        let next = self.tokens.get(self.position + 1).map(|(token, _)| token);
        !alone && matches!(next, Some(Token::End | Token::Close | Token::Keyword(_)) | None)
    }

    /// The `{` of a block.
    fn open(&mut self, of: &str) -> bool {
        if self.eat(&Token::Open) {
            return true;
        }
        let before = self.position.checked_sub(1).and_then(|last| self.tokens.get(last));
        if let Some((Token::Word(word), at)) = before
            && word.bytes().last() == Some(&b'{')
        {
            let (at, text) =
                (at.clone(), format!("`{word}` is one word to csync2: put a space before the brace"));
            self.error(&at, text);
            return true;
        }
        self.unexpected(&format!("`{{` after `{of}`"));
        false
    }

    fn stray_end(&mut self) {
        let at = self.at();
        self.error(&at, "`;` without a statement before it (none stands behind `}`): remove it");
        self.position += 1;
    }

    fn blocks(&mut self) {
        while let Some(token) = self.peek() {
            let Token::Keyword(keyword) = token else {
                match token {
                    Token::End => self.stray_end(),
                    Token::Close => {
                        let at = self.at();
                        self.error(&at, "`}` closes nothing: remove it, or look for what opened it");
                        self.position += 1;
                    }
                    _ => {
                        self.unexpected("a statement (group, prefix, nossl, ignore, database, tempdir, lock-timeout, config)");
                        self.skip_statement();
                    }
                }
                continue;
            };
            let (keyword, at) = (*keyword, self.at());
            self.position += 1;
            self.block(keyword, &at);
        }
    }

    fn block(&mut self, keyword: Keyword, at: &At) {
        match keyword {
            Keyword::Group => self.group(at),
            Keyword::Prefix => self.prefix(at),
            Keyword::NoSsl => self.nossl(),
            Keyword::Ignore => {
                for word in self.words() {
                    let said = match word.text.bytes() {
                        b"uid" => &mut self.config.ignore_uid,
                        b"gid" => &mut self.config.ignore_gid,
                        b"mod" => &mut self.config.ignore_mod,
                        _ => {
                            let text = format!("`ignore` knows uid, gid and mod, not `{}`", word.text);
                            self.error(&word.at, text);
                            continue;
                        }
                    };
                    said.get_or_insert(word.at);
                }
                self.end_of("ignore");
            }
            Keyword::Database => {
                let Some(word) = self.word("the database") else { return self.skip_statement() };
                if let Some(first) = self.config.database.clone() {
                    let text = format!("a second `database`: the first one counts ({})", first.at);
                    self.warning(at, text);
                } else {
                    self.config.database = Some(word);
                }
                self.end_of("database");
            }
            Keyword::Tempdir => {
                let Some(word) = self.word("a directory") else { return self.skip_statement() };
                if let Some(first) = self.config.tempdir.replace(word) {
                    self.warning(
                        at,
                        format!("a second `tempdir`: the last one counts, not that of {}", first.at),
                    );
                }
                self.end_of("tempdir");
            }
            Keyword::LockTimeout => {
                let Some(number) = self.number("lock-timeout", "seconds") else {
                    return self.skip_statement();
                };
                if let Some(first) = self.config.lock_timeout.replace(number) {
                    self.warning(
                        at,
                        format!("a second `lock-timeout`: the last one counts, not that of {}", first.at),
                    );
                }
                self.end_of("lock-timeout");
            }
            Keyword::NoCygwin => {
                self.error(at, "`no-cygwin-lowercase` is for Windows only: remove it");
                self.end_of("no-cygwin-lowercase");
            }
            other => {
                let text = match other {
                    Keyword::On => "`on` stands within `prefix NAME { … }` only".into(),
                    Keyword::Pattern
                    | Keyword::Exec
                    | Keyword::Logfile
                    | Keyword::DoLocal
                    | Keyword::DoLocalOnly => {
                        format!("`{}` stands within `action {{ … }}` of a group only", other.word())
                    }
                    _ => format!("`{}` stands within `group NAME {{ … }}` only", other.word()),
                };
                self.error(at, text);
                self.skip_statement();
            }
        }
    }

    fn number(&mut self, statement: &str, unit: &str) -> Option<Number> {
        let word = self.word(&format!("a number of {unit}"))?;
        let (value, whole) = atoi(word.text.bytes());
        if !whole || value < 0 {
            let text = format!(
                "`{statement}` wants a number of {unit}, `{}` counts as {value} to csync2",
                word.text
            );
            self.warning(&word.at, text);
        }
        Some(Number { value, at: word.at })
    }

    fn nossl(&mut self) {
        let wanted = "two patterns of host names, `nossl FROM TO;`:";
        let Some(from) = self.word(wanted) else { return self.skip_statement() };
        let Some(to) = self.word(wanted) else { return self.skip_statement() };
        self.config.nossl.push(NoSsl { from, to });
        self.end_of("nossl FROM TO");
    }

    fn prefix(&mut self, at: &At) {
        let Some(name) = self.word("the prefix's name") else { return self.skip_statement() };
        if !self.open("prefix NAME") {
            return self.skip_statement();
        }
        let mut prefix = Prefix { name, places: Vec::new() };
        loop {
            match self.peek() {
                Some(Token::Close) => {
                    self.position += 1;
                    break;
                }
                None | Some(Token::Keyword(Keyword::Group | Keyword::Prefix)) => {
                    self.error(
                        at,
                        format!(
                            "the block of prefix `{}` is never closed: `}}` is missing",
                            prefix.name.text
                        ),
                    );
                    break;
                }
                Some(Token::End) => self.stray_end(),
                Some(Token::Keyword(Keyword::On)) => {
                    self.position += 1;
                    match self.prefix_place() {
                        Some(place) => prefix.places.push(place),
                        None => self.skip_statement(),
                    }
                }
                Some(_) => {
                    self.unexpected("`on HOSTS: PATH;`");
                    self.skip_statement();
                }
            }
        }
        self.config.prefixes.push(prefix);
    }

    fn prefix_place(&mut self) -> Option<PrefixPlace> {
        let hosts = self.word("a pattern of host names")?;
        if !self.eat(&Token::Colon) {
            if hosts.text.bytes().contains(&b':') && self.peek() == Some(&Token::End) {
                let text = format!("`{}` is one word to csync2: put a space behind the colon", hosts.text);
                self.error(&hosts.at, text);
            } else {
                self.unexpected("`:` behind the host names");
            }
            return None;
        }
        let path = self.word("an absolute path")?;
        if !path.text.is_absolute() {
            self.error(
                &path.at,
                format!("the path of a prefix is absolute, `{}` does not begin with /", path.text),
            );
        }
        self.end_of("on HOSTS: PATH");
        let path = Word { text: without_slashes(&path.text), at: path.at };
        Some(PrefixPlace { hosts, path })
    }
}
