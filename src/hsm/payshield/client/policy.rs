//! The rules of new PINs as devices can hold them: a table of excluded PINs for each length.
//!
//! A device looks no PIN up but in the table that comes with a command; so runs and repeated digits are written out,
//! which they are few enough for. What no table can say, the length and that the PIN is not the current one, is for
//! `commands`. **Never here:** a PIN that anybody has.

use crate::domain::pin::PinRules;
use crate::hsm::payshield::wire::option::Excluded;
use crate::limits::{PIN_DIGITS_MAX, PIN_DIGITS_MIN};

/// PINs that two digits can count.
const PINS_MAX: usize = 99;

/// The excluded PINs of one length.
pub(super) struct Weak {
    digits: [u8; Excluded::DIGITS_MAX],
    used: usize,
    length: u8,
}

/// A product refuses more PINs of one length than a device takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TooMany {
    pub(super) length: u8,
    pub(super) pins: usize,
}

/// Lengths that rules allow, the shortest first.
pub(super) fn lengths(rules: &PinRules) -> impl Iterator<Item = u8> {
    (PIN_DIGITS_MIN..=PIN_DIGITS_MAX)
        .filter(|length| rules.allows_length(*length))
        .filter_map(|length| u8::try_from(length).ok())
}

/// Whether rules allow every length a PIN can have.
pub(super) fn allows_all(rules: &PinRules) -> bool {
    lengths(rules).count() == PIN_DIGITS_MAX - PIN_DIGITS_MIN + 1
}

/// Whether some PIN of an allowed length is excluded.
pub(super) fn excludes(rules: &PinRules) -> bool {
    lengths(rules).any(|length| Weak::of(rules, length).is_ok_and(|weak| !weak.is_empty()))
}

impl Weak {
    /// The excluded PINs of this length.
    pub(super) fn of(rules: &PinRules, length: u8) -> Result<Self, TooMany> {
        let mut weak = Self { digits: [0; Excluded::DIGITS_MAX], used: 0, length };
        let mut pins = 0;
        let wide = usize::from(length);
        let mut put = |pin: &mut dyn Iterator<Item = u8>| {
            pins += 1;
            for digit in pin.take(wide) {
                if let Some(place) = weak.digits.get_mut(weak.used) {
                    *place = digit;
                    weak.used += 1;
                }
            }
        };
        if rules.not_one_digit_repeated {
            (b'0'..=b'9').for_each(|digit| put(&mut std::iter::repeat(digit)));
        }
        // A run does not wrap, so none is longer than ten digits.
        if rules.not_a_run && length <= 10 {
            for start in b'0'..=b'9' - (length - 1) {
                put(&mut (start..=b'9'));
                put(&mut (b'0'..start + length).rev());
            }
        }
        for pin in rules.refused.iter().filter(|pin| pin.len() == wide) {
            put(&mut pin.iter().copied());
        }
        if pins <= PINS_MAX && pins * wide <= Excluded::DIGITS_MAX {
            Ok(weak)
        } else {
            Err(TooMany { length, pins })
        }
    }

    /// Whether there are none: a device is not sent the table then.
    pub(super) const fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// As commands take it.
    pub(super) fn excluded(&self) -> Option<Excluded<'_>> {
        let pins = self.digits.get(..self.used).filter(|pins| !pins.is_empty())?;
        Some(Excluded { length: self.length, pins })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rules() -> PinRules {
        PinRules {
            lengths: 0b1_1111_1111_0000,
            not_one_digit_repeated: true,
            not_a_run: true,
            not_the_current: false,
            refused: vec![
                b"1212".as_slice().into(),
                b"2580".as_slice().into(),
                b"159159".as_slice().into(),
            ],
        }
    }

    /// The trait's rules, said a second time: by digits, not by a list.
    fn is_refused(rules: &PinRules, pin: &[u8]) -> bool {
        let steps = |step: i16| pin.windows(2).all(|w| i16::from(w[1]) - i16::from(w[0]) == step);
        (rules.not_one_digit_repeated && steps(0))
            || (rules.not_a_run && (steps(1) || steps(-1)))
            || rules.refused.iter().any(|refused| **refused == *pin)
    }

    #[test]
    fn four_digits_have_twenty_four_weak_pins_and_the_refused_ones() {
        let weak = Weak::of(&rules(), 4).unwrap();
        let excluded = weak.excluded().unwrap();
        assert_eq!(excluded.each().count(), 10 + 7 + 7 + 2);
        let has = |pin: &[u8]| excluded.each().any(|listed| listed == pin);
        for pin in [b"0000", b"9999", b"0123", b"6789", b"9876", b"3210", b"1212", b"2580"] {
            assert!(has(pin), "{}", pin.escape_ascii());
        }
        assert!(!has(b"7890") && !has(b"1357"));
        assert!(
            Weak::of(&PinRules { lengths: 16, ..PinRules::default() }, 4)
                .unwrap()
                .excluded()
                .is_none()
        );
    }

    #[test]
    fn all_of_a_length_are_in_the_table_and_no_other() {
        for number in 0..10_000 {
            let pin = format!("{number:04}").into_bytes();
            let weak = Weak::of(&rules(), 4).unwrap();
            let listed = weak.excluded().unwrap().each().any(|listed| listed == pin);
            assert_eq!(listed, is_refused(&rules(), &pin), "{}", pin.escape_ascii());
        }
    }

    proptest! {
        #[test]
        fn every_weak_pin_of_any_length_is_in_its_table(length in 4_u8..=12, start in 0_u8..10, step in -1_i16..=1) {
            let pin: Option<Vec<u8>> = (0..i16::from(length))
                .map(|at| i16::from(start) + at * step)
                .map(|digit| (0..10).contains(&digit).then(|| b'0' + u8::try_from(digit).unwrap()))
                .collect();
            if let Some(pin) = pin {
                let weak = Weak::of(&rules(), length).unwrap();
                prop_assert!(weak.excluded().unwrap().each().any(|listed| listed == pin));
            }
        }
    }

    #[test]
    fn more_than_a_device_takes_is_told() {
        let refused = (0..76).map(|n| format!("{:04}", 1000 + n * 7).into_bytes().into()).collect();
        let long = PinRules { refused, ..rules() };
        assert_eq!(Weak::of(&long, 4).err(), Some(TooMany { length: 4, pins: 100 }));
        assert!(Weak::of(&long, 6).is_ok());
    }
}
