//! Who is refused before any PIN is looked at.
//!
//! One function, one order: what is wrong with the card for good comes before what is wrong with this request, and the
//! try counter comes last, so that a refusal never depends on a guess. **Never here:** PINs, the HSM, writes.

use crate::card::product::Product;
use crate::card::record::{AccountStatus, AccountType, CardRecord, CardStatus};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::Reason;
use crate::domain::pin::Reference;
use crate::domain::request::{Channel, Operation};

/// Checks the card against the request.
///
/// # Errors
/// The first gate that is closed.
pub fn check(
    card: &CardRecord,
    product: &Product,
    operation: Operation,
    channel: Channel,
    wall: WallMillis,
) -> Result<(), Reason> {
    match card.status {
        CardStatus::Active => {}
        CardStatus::Blocked => return Err(Reason::CardBlocked),
        CardStatus::Closed => return Err(Reason::CardClosed),
        CardStatus::Lost => return Err(Reason::CardLost),
        CardStatus::NotActivated => return Err(Reason::CardNotActivated),
        CardStatus::Stolen => return Err(Reason::CardStolen),
    }
    if card.expiry < year_month(wall) {
        return Err(Reason::CardExpired);
    }
    match card.account_status {
        AccountStatus::Active => {}
        AccountStatus::Blocked => return Err(Reason::AccountBlocked),
        AccountStatus::NotAllowed => return Err(Reason::AccountStatus),
    }
    match card.account_type {
        AccountType::Ordinary => {}
        AccountType::NotAllowed => return Err(Reason::AccountType),
    }
    if card.pin_suppressed {
        return Err(Reason::PinSuppressed);
    }
    match operation {
        Operation::Change => {
            change_gates(card, product, channel, wall)?;
            tries_gate(card, product)
        }
        Operation::Reveal => reveal_gate(card, product),
        Operation::Set => set_gates(card, product, channel, wall),
        Operation::Verify => tries_gate(card, product),
        Operation::Reverse | Operation::Unblock => Ok(()),
    }
}

fn change_gates(
    card: &CardRecord,
    product: &Product,
    channel: Channel,
    wall: WallMillis,
) -> Result<(), Reason> {
    if product.chip && !channel.reaches_the_chip() {
        return Err(Reason::ChannelNotAllowed);
    }
    if let Some(max) = product.changes_per_day_max
        && card.changes_day == wall.day()
        && max <= card.changes
    {
        return Err(Reason::TooManyChanges);
    }
    Ok(())
}

/// Whoever sets a PIN answers for the cardholder, so spent tries close nothing.
fn set_gates(
    card: &CardRecord,
    product: &Product,
    channel: Channel,
    wall: WallMillis,
) -> Result<(), Reason> {
    //= spec/pin-change.md#11.1
    //# A set MUST be refused as not supported (12) for a card whose product does not allow it.
    if !product.allow_set {
        return Err(Reason::NotSupported);
    }
    //= spec/pin-change.md#11.2
    //# A set MUST pass the gates of a change but that of the tries, MUST count as a change of its
    //# day, and MUST take back the count of wrong PINs.
    change_gates(card, product, channel, wall)
}

fn reveal_gate(card: &CardRecord, product: &Product) -> Result<(), Reason> {
    //= spec/pin-change.md#11.4
    //# A reveal MUST be refused as not recoverable (57) for a card whose product keeps no PIN that
    //# can be revealed, or that has none yet.
    match card.reference {
        Reference::Lmk(_) if product.recoverable => Ok(()),
        Reference::Lmk(_) | Reference::None | Reference::Offset { .. } | Reference::Pvv(_) => {
            Err(Reason::NotRecoverable)
        }
    }
}

fn tries_gate(card: &CardRecord, product: &Product) -> Result<(), Reason> {
    if product.tries_max <= card.pin_tries_used {
        return Err(Reason::TriesExceeded);
    }
    Ok(())
}

/// The month of `wall` as YYMM, UTC. A card is good to the end of the month it shows.
fn year_month(wall: WallMillis) -> u16 {
    let (year, month) = civil_month(i64::from(wall.day()));
    u16::try_from((year % 100) * 100 + month).unwrap_or(u16::MAX)
}

/// Year and month of a day since 1970-01-01 (the days-to-civil algorithm of the proleptic Gregorian calendar, counted
/// from 1 March so that the leap day comes last). Kept here because a date library's zoned time costs more than a whole
/// message on the path.
fn civil_month(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month)
}

#[cfg(test)]
mod tests;
