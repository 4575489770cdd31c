//! How the text of a parameter becomes a typed value: the trait [`Value`] and its usual implementations.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

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
    fn lists_are_split_at_spaces_and_commas() {
        let list = List::<IpAddr>::parse("10.0.0.1, fd00::1  10.0.0.2").unwrap();
        assert_eq!(list.len(), 3);
        assert!(List::<IpAddr>::parse(" , ").is_err());
        assert_eq!(List::<IpAddr>::parse("x"), Err("an IPv4 or IPv6 address".into()));
    }
}
