//! The one message the simulated Postilion sends of its own accord: 0800 with a new zone key.
//!
//! **Never here:** when it is sent, what its answer does (`turn`).

use bytes::BytesMut;

use crate::domain::clock::{Clock as _, SystemClock};
use crate::iso8583::{Builder, Dialect, EncodeError};
use crate::sim::postilion::ask::DE53_BYTES;
use crate::sim::postilion::word::Word;

/// The last six digits of `number`.
pub(super) fn stan(number: u64) -> Word<6> {
    let mut digits = [b'0'; 6];
    let mut left = number % 1_000_000;
    for digit in digits.iter_mut().rev() {
        // One decimal digit.
        *digit += u8::try_from(left % 10).unwrap_or(0);
        left /= 10;
    }
    Word::full(digits)
}

/// Writes 0800 with DE 70 = 101 and the key in DE 53.
pub(super) fn write(
    dialect: &Dialect,
    clock: &SystemClock,
    stan: Word<6>,
    key: &[u8; DE53_BYTES],
    out: &mut BytesMut,
) -> Result<(), EncodeError> {
    let millis = i64::try_from(clock.wall().0).unwrap_or(0);
    let utc = jiff::Timestamp::from_millisecond(millis).unwrap_or_default();
    let sent = utc.strftime("%m%d%H%M%S").to_string();
    let mut builder = Builder::new(dialect, *b"0800", out);
    builder.text(7, sent.as_bytes())?;
    builder.text(11, stan.as_bytes())?;
    builder.binary(53, key)?;
    builder.text(70, b"101")?;
    builder.finish();
    Ok(())
}
