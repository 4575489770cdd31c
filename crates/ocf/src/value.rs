//! How the text of a parameter becomes a typed value: the trait [`Value`] and its usual implementations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;
use std::path::{Path, PathBuf};

/// The content type that the metadata gives for a parameter (the three that all grammars share).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Free text.
    String,
    /// A whole number.
    Integer,
    /// A truth value.
    Boolean,
}

impl Kind {
    /// Its name in the metadata.
    pub fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Integer => "integer",
            Kind::Boolean => "boolean",
        }
    }
}

/// A type that a parameter can have.
pub trait Value: Sized {
    /// Its content type in the metadata.
    const KIND: Kind;
    /// Whether a parameter of this type may be left out without having a default.
    const OPTIONAL: bool = false;

    /// The value of a text that is not empty.
    ///
    /// # Errors
    /// What is accepted, to follow the words "expected", such as "an IPv4 address".
    fn parse(text: &str) -> Result<Self, String>;

    /// The value of a parameter that was left out and has no default; `None` where there is none.
    fn absent() -> Option<Self> {
        None
    }
}

impl<T: Value> Value for Option<T> {
    const KIND: Kind = T::KIND;
    const OPTIONAL: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        T::parse(text).map(Some)
    }

    fn absent() -> Option<Self> {
        Some(None)
    }
}

impl Value for String {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        if text.chars().any(char::is_control) {
            return Err("text without control characters".into());
        }
        Ok(text.to_owned())
    }
}

/// The words of `ocf-shellfuncs`, in any case; unlike there, a typing error is not taken for "false".
impl Value for bool {
    const KIND: Kind = Kind::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "1" | "on" | "ja" => Ok(true),
            "false" | "no" | "0" | "off" | "nein" => Ok(false),
            _ => Err("true or false (also yes/no, on/off, 1/0)".into()),
        }
    }
}

/// A whole number between two bounds, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Within<const MIN: u64, const MAX: u64>(u64);

impl<const MIN: u64, const MAX: u64> Within<MIN, MAX> {
    /// The number.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl<const MIN: u64, const MAX: u64> Value for Within<MIN, MAX> {
    const KIND: Kind = Kind::Integer;

    fn parse(text: &str) -> Result<Self, String> {
        match text.parse() {
            Ok(number) if (MIN..=MAX).contains(&number) && !text.starts_with('+') => Ok(Within(number)),
            _ => Err(format!("a whole number from {MIN} to {MAX}")),
        }
    }
}

macro_rules! addresses {
    ($($Type:ty: $accepts:literal;)*) => {$(
        impl Value for $Type {
            const KIND: Kind = Kind::String;

            fn parse(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| $accepts.into())
            }
        }
    )*};
}

addresses! {
    IpAddr: "an IPv4 or IPv6 address";
    Ipv4Addr: "an IPv4 address";
    Ipv6Addr: "an IPv6 address";
}

/// An absolute path without `.`, `..` or doubled slashes, and without a slash at its end: two that differ are two places, as far
/// as names can tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AbsolutePath(PathBuf);

impl AbsolutePath {
    /// The path.
    pub fn into_path(self) -> PathBuf {
        self.0
    }
}

impl Deref for AbsolutePath {
    type Target = Path;

    fn deref(&self) -> &Path {
        &self.0
    }
}

impl Value for AbsolutePath {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || "an absolute path without control characters, \"..\" and \".\"".to_owned();
        let rest = text.strip_prefix('/').ok_or_else(accepts)?;
        if text.chars().any(char::is_control) || rest.split('/').any(|name| matches!(name, "." | "..")) {
            return Err(accepts());
        }
        let names = rest.split('/').filter(|name| !name.is_empty());
        Ok(AbsolutePath(names.fold(PathBuf::from("/"), |path, name| path.join(name))))
    }
}

/// An amount of bytes, such as `500M`: a number with an optional unit K, M, G or T (of 1024), in either case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

impl Size {
    /// In bytes.
    pub fn bytes(self) -> u64 {
        self.0
    }
}

impl Value for Size {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let accepts = || "a number of bytes, or one with a unit: 500M, 2G".to_owned();
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let shift = match unit.to_ascii_uppercase().as_str() {
            "" => 0,
            "K" => 10,
            "M" => 20,
            "G" => 30,
            "T" => 40,
            _ => return Err(accepts()),
        };
        let number: u64 = number.parse().map_err(|_| accepts())?;
        number.checked_mul(1 << shift).map(Size).ok_or_else(accepts)
    }
}

/// Words separated by white space or commas, at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct List<T>(Vec<T>);

impl<T> List<T> {
    /// The items, in the order given.
    pub fn into_vec(self) -> Vec<T> {
        self.0
    }
}

impl<T> Deref for List<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        &self.0
    }
}

impl<T: Value> Value for List<T> {
    const KIND: Kind = Kind::String;

    fn parse(text: &str) -> Result<Self, String> {
        let words =
            || text.split(|c: char| c.is_ascii_whitespace() || c == ',').filter(|word| !word.is_empty());
        let items: Vec<T> = words().map(T::parse).collect::<Result<_, _>>().map_err(|accepts| {
            if words().count() > 1 {
                format!("{accepts}, or several of them separated by spaces")
            } else {
                accepts
            }
        })?;
        if items.is_empty() { Err("at least one word".into()) } else { Ok(List(items)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn truth_values_are_those_of_the_shell_agents_but_errors_are_seen() {
        for word in ["yes", "true", "1", "YES", "TRUE", "True", "ja", "on", "ON"] {
            assert_eq!(bool::parse(word), Ok(true), "{word}");
        }
        for word in ["no", "false", "0", "off", "False"] {
            assert_eq!(bool::parse(word), Ok(false), "{word}");
        }
        for word in ["ture", "2", " true", "y"] {
            assert!(bool::parse(word).is_err(), "{word}");
        }
    }

    #[test]
    fn numbers_keep_their_bounds() {
        assert_eq!(Within::<1, 128>::parse("128").map(Within::get), Ok(128));
        for word in ["0", "129", "-1", "+5", "1.5", "0x10", "99999999999999999999", " 5"] {
            assert_eq!(Within::<1, 128>::parse(word), Err("a whole number from 1 to 128".into()), "{word}");
        }
    }

    #[test]
    fn paths_are_absolute_and_plain() {
        for (text, path) in
            [("/a/b", "/a/b"), ("//a///b c/", "/a/b c"), ("/", "/"), ("/a/..b/.c", "/a/..b/.c")]
        {
            assert_eq!(
                AbsolutePath::parse(text).map(AbsolutePath::into_path),
                Ok(PathBuf::from(path)),
                "{text}"
            );
        }
        for text in ["", "a", "./a", "/a/../b", "/a/.", "/a\nb"] {
            assert!(AbsolutePath::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_have_units() {
        for (text, bytes) in
            [("0", 0), ("512", 512), ("2k", 2048), ("3M", 3 << 20), ("1g", 1 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(Size::parse(text).map(Size::bytes), Ok(bytes), "{text}");
        }
        for text in ["", "G", "-1", "1.5G", "1 G", "1GB", "99999999T", "0x10"] {
            assert!(Size::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lists_are_split_at_spaces_and_commas() {
        let list = List::<IpAddr>::parse("10.0.0.1, fd00::1  10.0.0.2").unwrap();
        assert_eq!(list.len(), 3);
        assert!(List::<IpAddr>::parse(" , ").is_err());
        assert_eq!(List::<IpAddr>::parse("x"), Err("an IPv4 or IPv6 address".into()));
    }
}
