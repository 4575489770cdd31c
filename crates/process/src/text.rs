//! Bytes of other programs made fit for one line of log.

/// Longest line that is shown, in characters.
const LONGEST: usize = 300;

/// The last line that is not blank, without control characters, shortened to what fits a log line.
pub(crate) fn last_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.lines().rev().map(str::trim).find(|line| !line.is_empty()).map(one_line).unwrap_or_default()
}

/// The text on one line: control characters become `?`, what is too long ends in `…`.
pub(crate) fn one_line(text: &str) -> String {
    let mut line: String = text.chars().take(LONGEST).map(|c| if c.is_control() { '?' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        line.push('…');
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_last_line_that_says_something() {
        assert_eq!(last_line(b"one\ntwo\r\n\n  \n"), "two");
        assert_eq!(last_line(b""), "");
        assert_eq!(last_line(b"\x1b[31mred\x07"), "?[31mred?");
    }

    proptest! {
        #[test]
        fn whatever_a_program_says_fits_one_line(bytes: Vec<u8>) {
            let line = last_line(&bytes);
            prop_assert!(line.chars().count() <= LONGEST + 1);
            prop_assert!(!line.chars().any(char::is_control));
        }
    }
}
