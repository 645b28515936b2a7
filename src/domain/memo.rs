//! [`Memo`]: what a sender of a request wants to stand in the audit, in its own words.
//!
//! A reason, an action code, how the cardholder proved who they are. **Never here:** an account number: what looks like
//! one is masked on the way in.

/// Longest memo: an action code of 4 bytes and a text of 60 fit. The rest is cut.
pub const MEMO_BYTES_MAX: usize = 100;
/// From so many digits in a row on it may be an account number (ISO/IEC 7812 begins at 12 for private ones).
const ACCOUNT_DIGITS_MIN: usize = 12;

/// A short printable text without account numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memo(Box<str>);

impl Memo {
    /// Takes a text, at most [`MEMO_BYTES_MAX`] bytes of it; what is not printable ASCII becomes `.`. `None` when
    /// nothing is in it.
    ///
    /// Twelve digits or more become stars, also with single spaces, points or hyphens between them.
    #[must_use]
    pub fn new(text: &str) -> Option<Self> {
        let printable = |c: char| if c.is_ascii_graphic() || c == ' ' { c } else { '.' };
        // Cut last: the head of a number that the end cuts off is still masked.
        let mut text: Vec<u8> =
            text.chars().map(printable).filter_map(|c| u8::try_from(c).ok()).collect();
        //= spec/pin-change.md#11.11
        //# Digits of a memo that may be an account number MUST be masked before it goes to the audit.
        mask_accounts(&mut text);
        text.truncate(MEMO_BYTES_MAX);
        let text = String::from_utf8(text).ok()?;
        let text = text.trim();
        (!text.is_empty()).then(|| Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

fn mask_accounts(text: &mut [u8]) {
    let mut rest = text;
    while let Some(start) = rest.iter().position(u8::is_ascii_digit) {
        rest = &mut rest[start..];
        let (mut end, mut digits) = (0, 0);
        for (at, byte) in rest.iter().enumerate() {
            let next_is_digit = rest.get(at + 1).is_some_and(u8::is_ascii_digit);
            match byte {
                b'0'..=b'9' => {
                    digits += 1;
                    end = at + 1;
                }
                b' ' | b'-' | b'.' if next_is_digit => {}
                _ => break,
            }
        }
        let (run, after) = rest.split_at_mut(end);
        if ACCOUNT_DIGITS_MIN <= digits {
            run.iter_mut().filter(|byte| byte.is_ascii_digit()).for_each(|byte| *byte = b'*');
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, want: Option<&str>) {
        assert_eq!(Memo::new(text).as_ref().map(Memo::as_str), want, "{text:?}");
    }

    #[test]
    fn what_may_be_an_account_number_is_masked() {
        check("BIOMETRIC_FACE", Some("BIOMETRIC_FACE"));
        check("", None);
        check("  ", None);
        check("of 4761739001010010, lost", Some("of ****************, lost"));
        check("4761 7390 0101 0010", Some("**** **** **** ****"));
        check("4761-7390-0101", Some("****-****-****"));
        check("call 2026-11-22", Some("call 2026-11-22"));
        check("ticket 12345678901", Some("ticket 12345678901"));
        check("a\nb\u{e4}", Some("a.b."));
    }

    #[test]
    fn a_number_at_the_cut_is_masked_whole() {
        let text = format!("{}4761739001010010", "x".repeat(MEMO_BYTES_MAX - 6));
        check(&text, Some(&format!("{}******", "x".repeat(MEMO_BYTES_MAX - 6))));
    }
}
