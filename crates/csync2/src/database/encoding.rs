//! How csync2 writes names into its database and on its wire.

use crate::Text;

/// Control characters, space and these are written as `%XX`; bytes from 0x80 on stand as they are.
fn is_encoded(byte: u8) -> bool {
    matches!(byte, 0x01..=0x20 | 0x7f | b'"' | b'\'' | b'%' | b'$' | b':' | b'|' | b'\\')
}

/// A name as csync2 writes it.
#[must_use]
pub fn encode(name: &Text) -> Vec<u8> {
    let mut encoded = Vec::with_capacity(name.bytes().len());
    for byte in name.bytes() {
        if is_encoded(*byte) {
            encoded.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            encoded.push(*byte);
        }
    }
    encoded
}

/// The name that csync2 wrote so. `None` for what it never writes: a `%` without two hexadecimal digits, a NUL.
#[must_use]
pub fn decode(encoded: &[u8]) -> Option<Text> {
    let digit =
        |byte: Option<&u8>| char::from(*byte?).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let mut name = Vec::with_capacity(encoded.len());
    let mut bytes = encoded.iter();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => digit(bytes.next())? * 16 + digit(bytes.next())?,
            other => *other,
        };
        if byte == 0 {
            return None;
        }
        name.push(byte);
    }
    Some(Text::from(name))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_encoded_as_csync2_does() {
        assert_eq!(encode(&Text::from("/a b\n%'é$:|\\\"")), b"/a%20b%0A%25%27\xc3\xa9%24%3A%7C%5C%22");
        for bad in ["%", "%1", "%zz", "a%00b", "\0"] {
            assert_eq!(decode(bad.as_bytes()), None, "{bad:?}");
        }
        assert_eq!(decode(b"%2fa%C3%A9").unwrap(), "/aé");
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded_and_no_bytes_panic(bytes in prop::collection::vec(1_u8.., 0..40)) {
            let name = Text::from(bytes.clone());
            prop_assert_eq!(decode(&encode(&name)), Some(name));
            let _ = decode(&bytes);
        }
    }
}
