//! Parameters, declared once: [`parameters!`](crate::parameters!) makes of one declaration the typed struct, the
//! parser and the table that metadata, man page and `--help` are written from.

use crate::value::{Kind, Value};
use std::ffi::OsStr;
use std::fmt;

/// One parameter as declared: the row that every document is written from.
#[derive(Clone, Copy, Debug)]
pub struct Parameter {
    /// Its name in the CIB, without the prefix `OCF_RESKEY_`.
    pub name: &'static str,
    /// The whole doc comment: the first line is the short description, the rest the long one.
    pub doc: &'static str,
    /// Content type.
    pub kind: Kind,
    /// The text that stands for a parameter left out.
    pub default: Option<&'static str>,
    /// Whether its type knows what being left out means.
    pub optional: bool,
    /// Whether it must be given.
    pub required: bool,
    /// Parameters of one group are unique together among the resources of this type.
    pub unique_group: Option<&'static str>,
    /// Whether a change takes effect through `reload-agent`, without a restart.
    pub reloadable: bool,
    /// Another name under which it is taken.
    pub alias: Option<&'static str>,
    /// Whether its value is kept out of logs and reasons.
    pub secret: bool,
}

impl Parameter {
    /// A row with its defaults, for the macro.
    pub const fn new<T: Value>(
        name: &'static str,
        doc: &'static str,
        default: Option<&'static str>,
    ) -> Parameter {
        Parameter {
            name,
            doc,
            kind: T::KIND,
            default,
            optional: T::OPTIONAL,
            required: false,
            unique_group: None,
            reloadable: false,
            alias: None,
            secret: false,
        }
    }

    /// The short description: one line.
    pub fn short(&self) -> &'static str {
        self.doc.lines().next().unwrap_or_default().trim()
    }

    /// The paragraphs of the long description; the short one where there is no other.
    pub fn long(&self) -> Vec<String> {
        let rest = self.doc.split_once('\n').map_or("", |(_, rest)| rest);
        let paragraphs = paragraphs(rest);
        if paragraphs.is_empty() { vec![format!("{}.", self.short())] } else { paragraphs }
    }
}

/// The paragraphs of a text in which line ends are spaces and empty lines separate.
pub(crate) fn paragraphs(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .split(|line| line.is_empty())
        .filter(|paragraph| !paragraph.is_empty())
        .map(|paragraph| paragraph.join(" "))
        .collect()
}

/// A parameter that cannot be used, in words that follow its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Which parameter.
    pub name: &'static str,
    /// What was found and what is accepted.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, self.what)
    }
}

/// A struct made by [`parameters!`](crate::parameters!).
pub trait Parameters: Sized {
    /// The rows, in the order of declaration.
    const TABLE: &'static [Parameter];

    /// The values found by `source`, which maps a parameter's name to its text.
    ///
    /// # Errors
    /// Every problem at once.
    fn read<'a>(source: &dyn Fn(&str) -> Option<&'a OsStr>) -> Result<Self, Vec<Problem>>;
}

/// Reads one parameter; a problem is noted and gives `None`. For the macro.
#[doc(hidden)]
pub fn take<'a, T: Value>(
    row: &Parameter,
    source: &dyn Fn(&str) -> Option<&'a OsStr>,
    problems: &mut Vec<Problem>,
) -> Option<T> {
    let mut problem = |what: String| problems.push(Problem { name: row.name, what });
    // An empty value means "left out": that is how the graphical tools store a field that was cleared.
    let given = [Some(row.name), row.alias]
        .into_iter()
        .flatten()
        .find_map(|name| source(name).filter(|text| !text.is_empty()));
    let shown = |text: &OsStr| if row.secret { "=(hidden)".into() } else { shown(text) };
    let Some(text) = given else {
        if row.required {
            problem(": is required and was not given".into());
            return None;
        }
        return match row.default {
            Some(default) => {
                T::parse(default).map_err(|what| problem(format!("={default}: expected {what}"))).ok()
            }
            None => T::absent(),
        };
    };
    let Some(word) = text.to_str() else {
        problem(format!("{}: is not UTF-8 text", shown(text)));
        return None;
    };
    T::parse(word).map_err(|accepts| problem(format!("{}: expected {accepts}", shown(text)))).ok()
}

/// A value as it may stand in a log line: quoted, escaped and not endless.
fn shown(text: &OsStr) -> String {
    const MAX: usize = 80;
    let text = text.to_string_lossy();
    let cut: String = text.chars().take(MAX).collect();
    let more = if cut.len() < text.len() { "…" } else { "" };
    format!("={cut:?}{more}")
}

/// What is wrong with a table: duplicates, missing descriptions, defaults that do not parse, values that can be
/// neither given nor left out. For a test in every agent; an empty answer is a sound table.
pub fn table_faults<P: Parameters>() -> Vec<String> {
    let mut faults = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for row in P::TABLE {
        let names = [Some(row.name), row.alias].into_iter().flatten();
        faults
            .extend(names.filter(|name| !seen.insert(*name)).map(|name| format!("{name} is declared twice")));
        if row.short().is_empty() || row.short().ends_with('.') || row.short().len() > 60 {
            faults.push(format!("{}: the first line is a title of 1 to 60 characters", row.name));
        }
        let ways = [row.required, row.default.is_some(), row.optional];
        if ways.iter().filter(|way| **way).count() != 1 {
            faults.push(format!("{}: is exactly one of required, with a default, optional", row.name));
        }
    }
    let problems = P::read(&|_| None).err().unwrap_or_default();
    let required = |name| P::TABLE.iter().any(|row| row.name == name && row.required);
    faults.extend(problems.iter().filter(|p| !required(p.name)).map(|p| format!("{p} (the default)")));
    faults
}

/// Declares the parameters of an agent.
///
/// ```
/// ocf::parameters! {
///     /// The parameters of this agent.
///     pub struct Parameters {
///         /// Address to manage
///         ///
///         /// The long description, in as many lines and paragraphs as it takes.
///         ip: std::net::IpAddr { required: true, unique_group: "address" },
///         /// Number of announcements
///         arp_count: ocf::Within<0, 100> = "5" { reloadable: true },
///         /// Interface
///         nic: Option<String>,
///     }
/// }
/// assert_eq!(ocf::table_faults::<Parameters>(), [""; 0]);
/// ```
///
/// The options in braces are the fields of [`Parameter`] of the same names.
#[macro_export]
macro_rules! parameters {
    (
        $(#[doc = $about:literal])*
        $vis:vis struct $Name:ident {
            $(
                $(#[doc = $doc:literal])+
                $field:ident: $Type:ty $(= $default:literal)? $({ $($option:ident: $value:tt),* $(,)? })?
            ),* $(,)?
        }
    ) => {
        $(#[doc = $about])*
        #[derive(Clone)]
        $vis struct $Name {
            $( $(#[doc = $doc])+ $vis $field: $Type, )*
        }

        /// Shows the name alone: there may be secrets among the values.
        impl std::fmt::Debug for $Name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($Name)).finish_non_exhaustive()
            }
        }

        impl $crate::Parameters for $Name {
            const TABLE: &'static [$crate::Parameter] = &[$(
                $crate::Parameter {
                    $($( $option: $crate::parameters!(@option $option $value), )*)?
                    ..$crate::Parameter::new::<$Type>(
                        stringify!($field),
                        concat!($($doc, "\n"),+),
                        $crate::parameters!(@default $($default)?),
                    )
                }
            ),*];

            fn read<'a>(
                source: &dyn Fn(&str) -> Option<&'a std::ffi::OsStr>,
            ) -> Result<Self, Vec<$crate::Problem>> {
                let mut problems = Vec::new();
                let mut rows = Self::TABLE.iter();
                $(
                    let $field = rows
                        .next()
                        .and_then(|row| $crate::take::<$Type>(row, source, &mut problems));
                )*
                match ($($field,)*) {
                    ($(Some($field),)*) => Ok($Name { $($field),* }),
                    _ => Err(problems),
                }
            }
        }
    };
    (@option unique_group $value:tt) => { Some($value) };
    (@option alias $value:tt) => { Some($value) };
    (@option $option:ident $value:tt) => { $value };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::Within;
    use proptest::prelude::*;
    use std::ffi::OsString;
    use std::net::IpAddr;
    use std::os::unix::ffi::OsStringExt;

    crate::parameters! {
        /// Some of every form.
        struct Sample {
            /// Address
            ///
            /// First paragraph
            /// goes on.
            ///
            /// Second.
            ip: IpAddr { required: true, unique_group: "address" },
            /// Count
            count: Within<0, 10> = "5" { reloadable: true, alias: "number" },
            /// Interface
            nic: Option<String>,
            /// Password
            password: Option<Within<0, 9>> { secret: true },
        }
    }

    fn read(pairs: &[(&str, &str)]) -> Result<Sample, Vec<Problem>> {
        Sample::read(&|name| pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| OsStr::new(*value)))
    }

    #[test]
    fn values_defaults_and_aliases() {
        let sample = read(&[("ip", "10.0.0.1"), ("number", "7"), ("nic", "")]).unwrap();
        assert_eq!((sample.ip.to_string().as_str(), sample.count.get()), ("10.0.0.1", 7));
        assert_eq!((sample.nic, sample.password), (None, None));
        assert_eq!(read(&[("ip", "::1")]).unwrap().count.get(), 5);
    }

    #[test]
    fn every_problem_is_told_at_once_and_names_value_and_expectation() {
        let problems: Vec<_> =
            read(&[("count", "many")]).unwrap_err().iter().map(ToString::to_string).collect();
        assert_eq!(
            problems,
            ["ip: is required and was not given", "count=\"many\": expected a whole number from 0 to 10"]
        );
    }

    #[test]
    fn a_secret_is_never_shown() {
        let problems = read(&[("ip", "::1"), ("password", "hunter2")]).unwrap_err();
        assert!(!problems[0].to_string().contains("hunter2"), "{}", problems[0]);
    }

    #[test]
    fn the_doc_comment_is_the_description() {
        let ip = &Sample::TABLE[0];
        assert_eq!(ip.short(), "Address");
        assert_eq!(ip.long(), ["First paragraph goes on.", "Second."]);
        assert_eq!(Sample::TABLE[2].long(), ["Interface."]);
        assert_eq!(table_faults::<Sample>(), [""; 0]);
    }

    crate::parameters! {
        /// Wrong in every way.
        struct Wrong {
            /// Ends with a full stop.
            a: Option<String>,
            /// Neither given nor left out
            b: String,
            /// Bad default
            c: Within<0, 1> = "2",
            /// Alias of another
            d: Option<String> { alias: "a" },
        }
    }

    #[test]
    fn faults_of_a_table_are_found() {
        let faults = table_faults::<Wrong>().join("\n");
        for part in ["a: the first line", "b: is exactly one", "c=2: expected", "a is declared twice"] {
            assert!(faults.contains(part), "{part} in {faults}");
        }
        // All fields are read somewhere, or the struct would be dead code.
        assert!(Wrong::read(&|_| None).map(|w| (w.a, w.b, w.c, w.d)).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic_and_reasons_stay_on_one_line(bytes: Vec<u8>) {
            let bytes: Vec<u8> = bytes.into_iter().filter(|byte| *byte != 0).collect();
            let value = OsString::from_vec(bytes);
            match Sample::read(&|_| Some(value.as_os_str())) {
                Ok(sample) => prop_assert!(sample.nic.is_none_or(|nic| !nic.contains('\n'))),
                Err(problems) => for problem in problems {
                    prop_assert!(!problem.to_string().contains('\n'));
                }
            }
        }
    }
}
