//! The blocks of groups and of their actions.

use super::super::lexer::{Keyword, Token};
use super::super::{Action, Auto, Group, Host, Kind, Pattern, Runs};
use super::{Parser, without_slashes};
use crate::{At, Text};

impl Parser {
    pub(super) fn group(&mut self, at: &At) {
        let name = if let Some(Token::Word(name)) = self.peek() {
            let name = name.clone();
            self.position += 1;
            name
        } else {
            self.nameless += 1;
            Text::from(format!("group_{}", self.nameless).as_str())
        };
        let mut group = Group {
            name,
            at: at.clone(),
            hosts: Vec::new(),
            patterns: Vec::new(),
            key: None,
            auto: None,
            backup_directory: None,
            backup_generations: None,
            actions: Vec::new(),
        };
        if !self.open("group NAME") {
            return self.skip_statement();
        }
        loop {
            let at = self.at();
            match self.peek() {
                Some(Token::Close) => {
                    self.position += 1;
                    break;
                }
                None | Some(Token::Keyword(Keyword::Group | Keyword::Prefix | Keyword::NoSsl)) => {
                    let text =
                        format!("the block of group `{}` is never closed: `}}` is missing", group.name);
                    let at = group.at.clone();
                    self.error(&at, text);
                    break;
                }
                Some(Token::End) => self.stray_end(),
                Some(Token::Keyword(keyword)) => {
                    let keyword = *keyword;
                    self.position += 1;
                    self.statement(&mut group, keyword, &at);
                }
                Some(_) => {
                    self.unexpected("a statement of a group (host, key, include, exclude, compare, auto, action, backup-…)");
                    self.skip_statement();
                }
            }
        }
        if group.key.is_none() {
            let text = format!(
                "group `{}` has no key: `key FILE;` is missing (`csync2 -k FILE` makes one)",
                group.name
            );
            self.error(at, text);
        }
        self.config.groups.push(group);
    }

    fn statement(&mut self, group: &mut Group, keyword: Keyword, at: &At) {
        match keyword {
            Keyword::Host => self.hosts(group),
            Keyword::Include => self.patterns(group, Kind::Include),
            Keyword::Exclude => self.patterns(group, Kind::Exclude),
            Keyword::Compare => self.patterns(group, Kind::Compare),
            Keyword::Key => {
                let Some(word) = self.word("the key's file") else { return self.skip_statement() };
                if let Some(first) = &group.key {
                    let text = format!("a second key: a group has one only (the first is at {})", first.at);
                    self.error(at, text);
                } else {
                    group.key = Some(word);
                }
                self.end_of("key");
            }
            Keyword::Auto => {
                let wanted = "none, first, younger, older, bigger, smaller, left or right";
                let Some(word) = self.word(wanted) else { return self.skip_statement() };
                let known = Auto::ALL.iter().find(|(_, name)| word.text == *name);
                if known.is_none() {
                    self.error(&word.at, format!("`auto` knows {wanted}, not `{}`", word.text));
                }
                if let Some((_, first)) = &group.auto {
                    self.error(
                        at,
                        format!("a second `auto`: a group has one only (the first is at {first})"),
                    );
                } else if let Some((method, _)) = known {
                    group.auto = Some((*method, at.clone()));
                }
                self.end_of("auto");
            }
            Keyword::BackupDirectory => {
                let Some(word) = self.word("a directory") else { return self.skip_statement() };
                if let Some(first) = group.backup_directory.replace(word) {
                    self.warning(
                        at,
                        format!("a second `backup-directory`: the last one counts, not that of {}", first.at),
                    );
                }
                self.end_of("backup-directory");
            }
            Keyword::BackupGenerations => {
                let Some(number) = self.number("backup-generations", "generations") else {
                    return self.skip_statement();
                };
                if number.value < 2 {
                    let text = format!(
                        "with `backup-generations {}` csync2 keeps no backup at all: 2 is the least",
                        number.value
                    );
                    self.warning(&number.at, text);
                }
                if let Some(first) = group.backup_generations.replace(number) {
                    let text = format!(
                        "a second `backup-generations`: the last one counts, not that of {}",
                        first.at
                    );
                    self.warning(at, text);
                }
                self.end_of("backup-generations");
            }
            Keyword::Action => {
                if let Some(action) = self.action(at) {
                    group.actions.push(action);
                }
            }
            other => {
                let text = match other {
                    Keyword::Pattern
                    | Keyword::Exec
                    | Keyword::Logfile
                    | Keyword::DoLocal
                    | Keyword::DoLocalOnly => {
                        format!("`{}` stands within `action {{ … }}` only", other.word())
                    }
                    _ => format!(
                        "`{}` does not stand within a group (is a `}}` missing before it?)",
                        other.word()
                    ),
                };
                self.error(at, text);
                self.skip_statement();
            }
        }
    }

    fn hosts(&mut self, group: &mut Group) {
        let mut slave = None;
        loop {
            match self.peek() {
                Some(Token::Word(_)) => {
                    let Some(name) = self.word("a host") else { return };
                    let mut address = name.text.clone();
                    if self.eat(&Token::AtSign) {
                        let Some(word) = self.word("the interface's name behind `@`") else {
                            return self.skip_statement();
                        };
                        address = word.text;
                    }
                    group.hosts.push(Host {
                        name: name.text.to_lowercase(),
                        address: address.to_lowercase(),
                        slave: slave.is_some(),
                        at: name.at,
                    });
                }
                Some(Token::ParenOpen) if slave.is_none() => {
                    slave = Some(self.at());
                    self.position += 1;
                }
                Some(Token::ParenClose) if slave.is_some() => {
                    slave = None;
                    self.position += 1;
                }
                _ => break,
            }
        }
        if let Some(open) = slave {
            self.error(&open, "`(` is never closed: `)` is missing behind the slaves of `host`");
            return self.skip_statement();
        }
        self.end_of("host");
    }

    fn patterns(&mut self, group: &mut Group, kind: Kind) {
        let words = self.words();
        let last = words.len();
        for (index, word) in words.into_iter().enumerate() {
            // csync2's grammar takes all words of `compare` but the last one as includes.
            let taken = if kind == Kind::Compare && index + 1 < last {
                let text = format!(
                    "csync2 takes `{}` as `include`, not as `compare`: only the last word of `compare` is compared. \
                     Write one `compare` for each",
                    word.text
                );
                self.warning(&word.at, text);
                Kind::Include
            } else {
                kind
            };
            group.patterns.push(Pattern { kind: taken, text: without_slashes(&word.text), at: word.at });
        }
        self.end_of(&kind.to_string());
    }

    fn action(&mut self, at: &At) -> Option<Action> {
        if !self.open("action") {
            self.skip_statement();
            return None;
        }
        let mut action = Action {
            at: at.clone(),
            patterns: Vec::new(),
            commands: Vec::new(),
            logfile: None,
            runs: Runs::Receiving,
        };
        loop {
            let here = self.at();
            let Some(token) = self.peek() else {
                self.error(at, "the block of this action is never closed: `}` is missing");
                break;
            };
            let keyword = match token {
                Token::Close => {
                    self.position += 1;
                    break;
                }
                Token::Keyword(Keyword::Group) => {
                    self.error(at, "the block of this action is never closed: `}` is missing");
                    break;
                }
                Token::End => {
                    self.stray_end();
                    continue;
                }
                Token::Keyword(keyword) => *keyword,
                _ => {
                    self.unexpected(
                        "a statement of an action (pattern, exec, logfile, do-local, do-local-only)",
                    );
                    self.skip_statement();
                    continue;
                }
            };
            self.position += 1;
            self.action_statement(&mut action, keyword, &here);
        }
        Some(action)
    }

    fn action_statement(&mut self, action: &mut Action, keyword: Keyword, at: &At) {
        match keyword {
            Keyword::Pattern => {
                action.patterns.extend(self.words());
                self.end_of("pattern");
            }
            Keyword::Exec => {
                action.commands.extend(self.words());
                self.end_of("exec");
            }
            Keyword::Logfile => {
                let Some(word) = self.word("a file") else { return self.skip_statement() };
                if let Some(first) = action.logfile.replace(word) {
                    self.warning(
                        at,
                        format!("a second `logfile`: the last one counts, not that of {}", first.at),
                    );
                }
                self.end_of("logfile");
            }
            Keyword::DoLocal => {
                if action.runs == Runs::Receiving {
                    action.runs = Runs::Both;
                }
                self.end_of("do-local");
            }
            Keyword::DoLocalOnly => {
                action.runs = Runs::Noticing;
                self.end_of("do-local-only");
            }
            other => {
                let text = format!(
                    "`{}` does not stand within an action (is a `}}` missing before it?)",
                    other.word()
                );
                self.error(at, text);
                self.skip_statement();
            }
        }
    }
}
