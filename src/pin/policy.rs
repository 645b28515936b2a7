//! Which new PINs a product refuses.
//!
//! A PIN that breaks a rule is told to nobody but a cardholder who has proved the current one, so every rule answers
//! yes or no and not which. **Never here:** reading rules from configuration.

use crate::domain::pin::PinRules;
use crate::pin::clear::{ClearPin, PIN_DIGITS_MAX};

/// Whether `rules` accept `new`. `current`, where it is known, is compared in constant time.
///
/// A run goes up or down by exactly one and does not wrap: `7890` and `8901` are none.
#[must_use]
pub fn accepts(rules: &PinRules, new: &ClearPin, current: Option<&ClearPin>) -> bool {
    let places = new.expose_digits();
    let digits = &places[..usize::from(new.digit_count())];
    let all_steps = |step: fn(u8, u8) -> bool| digits.windows(2).all(|w| step(w[0], w[1]));
    let repeated = rules.not_one_digit_repeated && all_steps(|a, b| a == b);
    let run = rules.not_a_run && (all_steps(|a, b| b == a + 1) || all_steps(|a, b| a == b + 1));
    let unchanged =
        rules.not_the_current && current.is_some_and(|current| bool::from(new.same_as(current)));
    rules.allows_length(digits.len()) && !repeated && !run && !unchanged && !refused(rules, digits)
}

/// Whether the product's own list has it. The list is sorted ASCII.
fn refused(rules: &PinRules, digits: &[u8]) -> bool {
    if rules.refused.is_empty() {
        return false;
    }
    let mut ascii = zeroize::Zeroizing::new([0; PIN_DIGITS_MAX]);
    for (to, digit) in ascii.iter_mut().zip(digits) {
        *to = b'0' + digit;
    }
    let wanted = &ascii[..digits.len()];
    rules.refused.binary_search_by(|listed| (**listed).cmp(wanted)).is_ok()
}
