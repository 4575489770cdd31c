//! `checktxt`: what csync2 remembers of a file, and by which alone it sees that one changed.

use std::fmt;
use std::io::Write as _;

use super::encoding::{decode, encode};
use crate::Text;

/// What a file was like when csync2 last looked. What the configuration ignores is not there; directories and symbolic links
/// have no time. A change that leaves all of it as it was, such as one of the same length in the same second, is never seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Checked {
    /// Seconds since 1970.
    pub mtime: Option<i64>,
    /// `st_mode`, with the bits of the type.
    pub mode: Option<u32>,
    /// The owner.
    pub uid: Option<u32>,
    /// The group.
    pub gid: Option<u32>,
    /// What it is.
    pub kind: Type,
}

/// What a file is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Type {
    /// A regular file.
    File {
        /// In bytes.
        size: u64,
    },
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink {
        /// Where it points. Empty for every link below a `%prefix%`: csync2 asks for the target under the name, not the path.
        target: Text,
    },
    /// A character device.
    Character {
        /// `st_rdev`, cut to 32 bits.
        device: i32,
    },
    /// A block device.
    Block {
        /// `st_rdev`, cut to 32 bits.
        device: i32,
    },
    /// A named pipe.
    Pipe,
    /// A socket.
    Socket,
}

/// What `lstat` says about a file, as far as csync2 looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    /// `st_mtime`.
    pub mtime: i64,
    /// `st_mode`.
    pub mode: u32,
    /// `st_uid`.
    pub uid: u32,
    /// `st_gid`.
    pub gid: u32,
    /// `st_size`.
    pub size: u64,
    /// `st_rdev`.
    pub device: u64,
}

/// A text that csync2 does not write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadChecked(String);

impl BadChecked {
    /// About this text.
    pub(super) fn of(text: &Text) -> Self {
        BadChecked(text.to_string())
    }
}

impl fmt::Display for BadChecked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not how csync2 2.0 tells what a file was like", self.0)
    }
}

impl std::error::Error for BadChecked {}

impl Checked {
    /// Reads the text (decoded, as `-L` prints it).
    ///
    /// # Errors
    /// It is not of version 1, or has parts that are unknown, missing, double or malformed.
    pub fn parse(text: &Text) -> Result<Self, BadChecked> {
        parse(text.bytes()).ok_or_else(|| BadChecked::of(text))
    }

    /// The text as csync2 writes it.
    #[must_use]
    pub fn to_text(&self) -> Text {
        let mut text = Vec::with_capacity(80);
        self.write(&mut text);
        Text::from(text)
    }

    /// The same at the end of `text`: for many, one after the other.
    pub fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(b"v1");
        let mut part = |name: &str, value: Option<i64>| {
            if let Some(value) = value {
                // Writing to memory does not fail.
                let _ = write!(text, ":{name}={value}");
            }
        };
        // All of them but the time are printed with %d.
        let signed = |value: u32| i64::from(i32::from_ne_bytes(value.to_ne_bytes()));
        part("mtime", self.mtime);
        part("mode", self.mode.map(signed));
        part("uid", self.uid.map(signed));
        part("gid", self.gid.map(signed));
        let _ = match &self.kind {
            Type::File { size } => write!(text, ":type=reg:size={size}"),
            Type::Directory => write!(text, ":type=dir"),
            Type::Character { device } => write!(text, ":type=chr:dev={device}"),
            Type::Block { device } => write!(text, ":type=blk:dev={device}"),
            Type::Pipe => write!(text, ":type=fifo"),
            Type::Socket => write!(text, ":type=sock"),
            Type::Symlink { .. } => write!(text, ":type=lnk:target="),
        };
        if let Type::Symlink { target } = &self.kind {
            text.extend_from_slice(&encode(target));
        }
    }

    /// What csync2 would remember of a file that is so now. `target` is what a symbolic link points to; `None` for a type
    /// that csync2 does not know.
    #[must_use]
    pub fn of(stat: &Stat, target: Option<&Text>, ignored: Ignored) -> Option<Self> {
        let device =
            i32::from_ne_bytes(u32::try_from(stat.device & u64::from(u32::MAX)).unwrap_or(0).to_ne_bytes());
        let kind = match stat.mode & 0o170_000 {
            0o100_000 => Type::File { size: stat.size },
            0o040_000 => Type::Directory,
            0o120_000 => Type::Symlink { target: target.cloned().unwrap_or_default() },
            0o020_000 => Type::Character { device },
            0o060_000 => Type::Block { device },
            0o010_000 => Type::Pipe,
            0o140_000 => Type::Socket,
            _ => return None,
        };
        let timed = !matches!(kind, Type::Directory | Type::Symlink { .. });
        Some(Self {
            mtime: timed.then_some(stat.mtime),
            mode: (!ignored.mode).then_some(stat.mode),
            uid: (!ignored.uid).then_some(stat.uid),
            gid: (!ignored.gid).then_some(stat.gid),
            kind,
        })
    }
}

/// What the configuration tells csync2 to ignore.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ignored {
    /// `ignore uid`.
    pub uid: bool,
    /// `ignore gid`.
    pub gid: bool,
    /// `ignore mod`.
    pub mode: bool,
}

fn parse(text: &[u8]) -> Option<Checked> {
    let mut parts = text.split(|byte| *byte == b':');
    if parts.next()? != b"v1" {
        return None;
    }
    let mut values: [Option<&[u8]>; 8] = [None; 8];
    let names: [&[u8]; 8] = [b"mtime", b"mode", b"uid", b"gid", b"type", b"size", b"dev", b"target"];
    for part in parts {
        let equals = part.iter().position(|byte| *byte == b'=')?;
        let (name, value) = (part.get(..equals)?, part.get(equals + 1..)?);
        let index = names.iter().position(|known| *known == name)?;
        let slot = values.get_mut(index)?;
        if slot.replace(value).is_some() {
            return None;
        }
    }
    let [mtime, mode, uid, gid, kind, size, device, target] = values;
    let kind = match kind? {
        b"reg" => Type::File { size: number(size?)? },
        b"dir" => Type::Directory,
        b"lnk" => Type::Symlink { target: decode(target?)? },
        b"chr" => Type::Character { device: number(device?)? },
        b"blk" => Type::Block { device: number(device?)? },
        b"fifo" => Type::Pipe,
        b"sock" => Type::Socket,
        _ => return None,
    };
    let unsigned = |value: &[u8]| {
        // Printed with %d: 4294967294 (nobody on some systems) is -2 here.
        let number: i32 = number(value)?;
        Some(u32::from_ne_bytes(number.to_ne_bytes()))
    };
    let checked = Checked {
        mtime: mtime.map(|value| number(value).ok_or(())).transpose().ok()?,
        mode: mode.map(|value| unsigned(value).ok_or(())).transpose().ok()?,
        uid: uid.map(|value| unsigned(value).ok_or(())).transpose().ok()?,
        gid: gid.map(|value| unsigned(value).ok_or(())).transpose().ok()?,
        kind,
    };
    // What is in another order, or does not belong to the type, was not written by csync2.
    (checked.to_text().bytes() == text).then_some(checked)
}

fn number<T: std::str::FromStr>(value: &[u8]) -> Option<T> {
    std::str::from_utf8(value).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_are_understood() {
        let parse = |text: &str| Checked::parse(&Text::from(text));
        let file = parse("v1:mtime=1700000000:mode=33188:uid=0:gid=-2:type=reg:size=5").unwrap();
        assert_eq!(file.mtime, Some(1_700_000_000));
        assert_eq!(file.mode, Some(0o100_644));
        assert_eq!(file.gid, Some(4_294_967_294));
        assert_eq!(file.kind, Type::File { size: 5 });
        assert_eq!(parse("v1:type=dir").unwrap().kind, Type::Directory);
        let link = parse("v1:mode=41471:uid=0:gid=0:type=lnk:target=/a%20b").unwrap();
        assert_eq!(link.kind, Type::Symlink { target: Text::from("/a b") });
        assert_eq!(
            parse("v1:mtime=0:mode=8630:type=chr:dev=259").unwrap().kind,
            Type::Character { device: 259 }
        );
        for bad in [
            "",
            "v1",
            "v2:type=dir",
            "v1:type=reg",
            "v1:type=dir:size=3",
            "v1:type=dir:type=dir",
            "v1:type=door",
            "v1:size=3:type=reg",
            "v1:mtime=x:type=fifo",
            "v1:type=dir:",
            "v1:type=dir:owner=me",
            "v1:mode=+5:type=dir",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_would_be_remembered_is_read_again(
            mtime in any::<i64>(), mode in any::<u32>(), uid in any::<u32>(), gid in any::<u32>(), size in any::<u64>(),
            device in any::<u64>(), target in prop::collection::vec(1_u8.., 0..20), ignored in any::<(bool, bool, bool)>(),
        ) {
            let ignored = Ignored { uid: ignored.0, gid: ignored.1, mode: ignored.2 };
            let stat = Stat { mtime, mode, uid, gid, size, device };
            if let Some(checked) = Checked::of(&stat, Some(&Text::from(target)), ignored) {
                prop_assert_eq!(Checked::parse(&checked.to_text()), Ok(checked));
            }
        }

        #[test]
        fn no_bytes_panic(text in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Checked::parse(&Text::from(text));
        }
    }
}
