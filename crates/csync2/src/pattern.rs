//! Patterns of file and host names as csync2 matches them: glibc's `fnmatch` in the C locale, byte by byte.
//!
//! Our own, because the agents are linked with musl, whose `fnmatch` knows other characters and other corner cases;
//! `tests/fnmatch.rs` compares it with glibc's.

use std::collections::HashSet;

/// What a `/` means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slashes {
    /// `*`, `?` and brackets match no `/` (`FNM_PATHNAME`).
    pub separate: bool,
    /// A pattern that matches a directory matches what is in it too (`FNM_LEADING_DIR`).
    pub contents: bool,
}

/// Host names, last components: a `/` is a character like any other.
pub const NAME: Slashes = Slashes { separate: false, contents: false };

/// Does all of `name` match `pattern`?
#[must_use]
pub fn matches(pattern: &[u8], name: &[u8], slashes: Slashes) -> bool {
    Matcher { pattern, name, slashes, failed: HashSet::new() }.from(0, 0)
}

struct Matcher<'a> {
    pattern: &'a [u8],
    name: &'a [u8],
    slashes: Slashes,
    /// Pairs of positions behind a `*` that are known not to match: keeps `*a*a*a*b` polynomial.
    failed: HashSet<(usize, usize)>,
}

/// How a bracket expression ended.
enum Bracket {
    /// It is one, ends before this position, and does or does not contain the byte.
    Ends(usize, bool),
    /// It is none: `[` stands for itself.
    Literal,
    /// It can match nothing.
    Never,
}

impl Matcher<'_> {
    fn pattern_at(&self, position: usize) -> Option<u8> {
        self.pattern.get(position).copied()
    }

    fn from(&mut self, mut p: usize, mut n: usize) -> bool {
        loop {
            let byte = self.name.get(n).copied();
            let slash = byte == Some(b'/') && self.slashes.separate;
            let Some(wanted) = self.pattern_at(p) else {
                return byte.is_none() || (byte == Some(b'/') && self.slashes.contents);
            };
            p += 1;
            match wanted {
                b'?' => {
                    if byte.is_none() || slash {
                        return false;
                    }
                }
                b'*' => return self.star(p, n),
                b'[' => {
                    let Some(found) = byte else { return false };
                    if slash {
                        return false;
                    }
                    match self.bracket(p, found) {
                        Bracket::Ends(end, true) => p = end,
                        Bracket::Literal if found == b'[' => {}
                        Bracket::Ends(..) | Bracket::Literal | Bracket::Never => return false,
                    }
                }
                b'\\' => {
                    let escaped = self.pattern_at(p);
                    p += 1;
                    if escaped.is_none() || escaped != byte {
                        return false;
                    }
                }
                other => {
                    if byte != Some(other) {
                        return false;
                    }
                }
            }
            n += 1;
        }
    }

    /// Behind a `*`.
    fn star(&mut self, mut p: usize, mut n: usize) -> bool {
        while let Some(byte @ (b'*' | b'?')) = self.pattern_at(p) {
            if byte == b'?' {
                match self.name.get(n) {
                    None => return false,
                    Some(b'/') if self.slashes.separate => return false,
                    Some(_) => n += 1,
                }
            }
            p += 1;
        }
        let rest = self.name.get(n..).unwrap_or_default();
        let component = rest.iter().position(|byte| *byte == b'/').unwrap_or(rest.len());
        let Some(next) = self.pattern_at(p) else {
            return !self.slashes.separate || self.slashes.contents || component == rest.len();
        };
        let end = if self.slashes.separate { n + component } else { self.name.len() };
        if next == b'/' && self.slashes.separate {
            return end < self.name.len() && self.try_from(p, end);
        }
        (n..end).any(|n| self.try_from(p, n))
    }

    fn try_from(&mut self, p: usize, n: usize) -> bool {
        if self.failed.contains(&(p, n)) {
            return false;
        }
        let found = self.from(p, n);
        if !found {
            self.failed.insert((p, n));
        }
        found
    }

    /// Behind a `[`: does the expression contain `byte`?
    fn bracket(&self, mut p: usize, byte: u8) -> Bracket {
        let negated = matches!(self.pattern_at(p), Some(b'!' | b'^'));
        p += usize::from(negated);
        let mut found = false;
        let mut first = true;
        loop {
            let Some(mut low) = self.pattern_at(p) else { return Bracket::Literal };
            p += 1;
            if low == b']' && !first {
                return Bracket::Ends(p, found != negated);
            }
            first = false;
            if low == b'[' && self.pattern_at(p) == Some(b':') {
                if let Some((class, end)) = self.class(p + 1) {
                    match in_class(class, byte) {
                        Some(is) => found |= is,
                        // glibc gives up at a class that it does not know, unless it has matched before.
                        None if !found => return Bracket::Never,
                        None => {}
                    }
                    p = end;
                    continue;
                }
            } else if low == b'[' && self.pattern_at(p) == Some(b'=') {
                if let (Some(only), Some(b'='), Some(b']')) =
                    (self.pattern_at(p + 1), self.pattern_at(p + 2), self.pattern_at(p + 3))
                {
                    found |= only == byte;
                    p += 4;
                    continue;
                }
            } else if low == b'\\' {
                let Some(escaped) = self.pattern_at(p) else { return Bracket::Literal };
                low = escaped;
                p += 1;
            }
            let ranges =
                self.pattern_at(p) == Some(b'-') && !matches!(self.pattern_at(p + 1), Some(b']') | None);
            if !ranges {
                found |= low == byte;
                continue;
            }
            p += 1;
            let Some(mut high) = self.pattern_at(p) else { return Bracket::Literal };
            p += 1;
            if high == b'\\' {
                let Some(escaped) = self.pattern_at(p) else { return Bracket::Literal };
                high = escaped;
                p += 1;
            }
            found |= (low..=high).contains(&byte);
        }
    }

    /// The name of a class, `alpha:]`, and the position behind it.
    fn class(&self, p: usize) -> Option<(&[u8], usize)> {
        let rest = self.pattern.get(p..)?;
        let length = rest.iter().position(|byte| !byte.is_ascii_lowercase())?;
        (rest.get(length..length + 2)? == b":]")
            .then(|| (rest.get(..length).unwrap_or_default(), p + length + 2))
    }
}

fn in_class(class: &[u8], byte: u8) -> Option<bool> {
    Some(match class {
        b"alnum" => byte.is_ascii_alphanumeric(),
        b"alpha" => byte.is_ascii_alphabetic(),
        b"blank" => matches!(byte, b' ' | b'\t'),
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
