//! Cards for load tests: numbers under a product's BIN, the same for the same seed, with valid check digits.
//!
//! Card `i` of seed `s` has the account `(s × 1 000 003 + i)` modulo the BIN's room, so that two seeds meet late and a
//! load generator can name any card without a list. **Never here:** PINs; the caller makes the references.

use crate::card::embedded::BulkError;
use crate::card::product::Product;
use crate::card::record::{AccountStatus, AccountType, CardRecord, CardStatus};
use crate::card::{Cards, Load};
use crate::domain::pan::Pan;
use crate::domain::pin::Reference;
use crate::domain::vault::{Vault, VaultError};

/// Digits of a generated number.
const DIGITS: usize = 16;
/// Expiry of generated cards, YYMM.
const EXPIRY: u16 = 4912;
/// Spreads seeds over the room of a BIN; a prime, so that it shares no factor with a power of ten.
const SEED_STEP: u64 = 1_000_003;

/// Why cards were not generated.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GenerateError {
    /// The BIN leaves no room for so many.
    #[error("BIN {bin}: room for {room} numbers of {DIGITS} digits, {asked} asked")]
    BinTooLong {
        /// The product's BIN.
        bin: Box<str>,
        /// Numbers it has.
        room: u64,
        /// Numbers wanted.
        asked: u64,
    },
    /// The caller has no reference for a card.
    #[error("no reference: {0}")]
    Reference(&'static str),
    /// The store refused one.
    #[error(transparent)]
    Bulk(#[from] BulkError),
    /// The vault failed.
    #[error(transparent)]
    Vault(#[from] VaultError),
}

/// Number `index` of `seed` under `bin`. `None` if the BIN is not made of 1 to 14 digits.
#[must_use]
pub fn pan(bin: &str, seed: u64, index: u64) -> Option<Pan> {
    let room = room(bin)?;
    let account = (u128::from(seed) * u128::from(SEED_STEP) + u128::from(index)) % u128::from(room);
    let mut account = u64::try_from(account).ok()?;
    let mut digits = [b'0'; DIGITS];
    digits.get_mut(..bin.len())?.copy_from_slice(bin.as_bytes());
    for at in (bin.len()..DIGITS - 1).rev() {
        digits[at] = b'0' + u8::try_from(account % 10).ok()?;
        account /= 10;
    }
    digits[DIGITS - 1] = check_digit(&digits[..DIGITS - 1]);
    Pan::parse(&digits).ok()
}

fn room(bin: &str) -> Option<u64> {
    let ok = (1..=14).contains(&bin.len()) && bin.bytes().all(|b| b.is_ascii_digit());
    let free = u32::try_from(DIGITS - 1 - bin.len().min(DIGITS - 1)).ok().filter(|_| ok)?;
    Some(10_u64.pow(free))
}

/// The check digit of ISO/IEC 7812-1 annex B (Luhn), ASCII.
fn check_digit(digits: &[u8]) -> u8 {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let value = u32::from(digit - b'0') << u32::from(at % 2 == 0);
            value / 10 + value % 10
        })
        .sum();
    b'0' + u8::try_from((10 - sum % 10) % 10).unwrap_or(0)
}

/// Puts `count` cards of `product` into the store. `reference` makes each card's reference: called from this thread,
/// in order, so that a PIN rule of the load generator can be applied. Returns how many.
///
/// # Errors
/// [`GenerateError`]; the cards put until then stay, and the audit says so.
pub fn generate(
    store: &mut impl Cards,
    vault: &dyn Vault,
    product: &Product,
    seed: u64,
    count: u64,
    mut reference: impl FnMut(&Pan) -> Result<Reference, &'static str>,
    mut progress: impl FnMut(u64),
) -> Result<u64, GenerateError> {
    let room = room(&product.bin).unwrap_or(0);
    let too_long = || GenerateError::BinTooLong { bin: product.bin.clone(), room, asked: count };
    if room < count {
        return Err(too_long());
    }
    let source = format!("generate {count} {} seed {seed}", product.name);
    let mut bulk = store.load(&source)?;
    for index in 0..count {
        let pan = pan(&product.bin, seed, index).ok_or_else(too_long)?;
        let card = CardRecord {
            pan_hash: vault.pan_hash(&pan),
            sequence: 0,
            version: 1,
            sealed_pan: vault.seal_pan(&pan)?,
            expiry: EXPIRY,
            product: product.key,
            status: CardStatus::Active,
            account_status: AccountStatus::Active,
            account_type: AccountType::Ordinary,
            pin_suppressed: false,
            pin_tries_used: 0,
            changes: 0,
            changes_day: 0,
            reference: reference(&pan).map_err(GenerateError::Reference)?,
            undo: None,
            identities: None,
        };
        bulk.put(card, true)?;
        progress(index + 1);
    }
    Ok(bulk.finish()?)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::card::embedded::EmbeddedStore;
    use crate::card::embedded::tests::{TestVault, options};
    use crate::card::transfer::tests::products;

    /// Numbers of public test cards: their last digit is the check digit.
    #[test]
    fn check_digits_are_those_of_published_numbers() {
        for number in
            ["4761739001010010", "5413330089010012", "4111111111111111", "5060990000000151002"]
        {
            let (digits, last) = number.as_bytes().split_at(number.len() - 1);
            let own = check_digit(digits);
            // The seed document's sample ends in a digit of its own: private label.
            assert!(own == last[0] || number.len() == 19, "{number}");
        }
    }

    #[test]
    fn the_same_seed_gives_the_same_cards() {
        let numbers =
            |seed| -> Vec<Pan> { (0..1000).map(|i| pan("476173", seed, i).unwrap()).collect() };
        assert_eq!(numbers(1), numbers(1));
        let all: HashSet<Vec<u8>> =
            numbers(1).iter().chain(&numbers(2)).map(|pan| pan.expose_digits().to_vec()).collect();
        assert_eq!(all.len(), 2000);
        assert!(all.iter().all(|digits| digits.starts_with(b"476173")));
        assert!(pan("", 1, 1).is_none() && pan("47x", 1, 1).is_none());
    }

    #[test]
    fn generated_cards_are_there_after_a_reopen() {
        let dir = tempfile::tempdir().unwrap();
        let vault = TestVault(7);
        let open = || EmbeddedStore::open(dir.path(), Arc::new(TestVault(7)), options()).unwrap();
        let products = products();
        let product = products.named("visa-debit").unwrap();
        let mut store = open();
        let reference = |_: &Pan| Ok(Reference::Pvv(*b"1234"));
        let made = generate(&mut store, &vault, product, 1, 3000, reference, |_| {}).unwrap();
        assert_eq!(made, 3000);
        drop(store);
        let store = open();
        assert_eq!(store.status().cards, 3000);
        let too_many = 10_u64.pow(9) + 1;
        let mut store = store;
        let refused = generate(&mut store, &vault, product, 1, too_many, reference, |_| {});
        assert!(matches!(refused, Err(GenerateError::BinTooLong { .. })));
    }
}
