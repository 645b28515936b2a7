//! The demo world: the keys, products and cards of `pinion demo`, of the README's examples and of tests.
//!
//! One embedded file, `deploy/demo/world.json`; its values were computed with another implementation (`psec`), so they
//! check ours. Every key and PIN in it is published and worthless. Here they are masked in `Debug` all the same,
//! because the code that carries them is the code that carries real ones.
//!
//! **Never here:** making references or blocks; `card` and `hsm` do that when the world is imported.

use std::collections::BTreeMap;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use zeroize::Zeroizing;

use crate::card::record::{AccountStatus, AccountType, CardStatus};
use crate::domain::pan::Pan;

/// The file as it is embedded.
pub const WORLD_JSON: &str = include_str!("../../deploy/demo/world.json");

/// The embedded file is not a world. Only a change of the file can cause this, and a test reads it.
#[derive(Debug, thiserror::Error)]
#[error("demo world: line {line}, column {column}: not as sim::world has it")]
pub struct WorldError {
    line: usize,
    column: usize,
}

/// All of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// Keys by name.
    pub keys: BTreeMap<String, WorldKey>,
    /// Products by name.
    pub products: BTreeMap<String, WorldProduct>,
    /// Cards.
    pub cards: Vec<WorldCard>,
    /// PIN changes with their blocks and the reference they must lead to.
    pub pin_block_samples: Vec<PinBlockSample>,
}

impl World {
    /// Reads the embedded file.
    ///
    /// # Errors
    /// [`WorldError`] if the file was edited into something else.
    pub fn embedded() -> Result<Self, WorldError> {
        serde_json::from_str(WORLD_JSON)
            .map_err(|e| WorldError { line: e.line(), column: e.column() })
    }

    /// The card with that number.
    #[must_use]
    pub fn card(&self, pan: &Pan) -> Option<&WorldCard> {
        self.cards.iter().find(|card| card.pan == *pan)
    }

    /// The clear bytes of a key.
    #[must_use]
    pub fn clear_key(&self, name: &str) -> Option<&[u8]> {
        self.keys.get(name).map(|key| key.clear.expose_bytes())
    }
}

/// A key of the world.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldKey {
    /// `ZPK`, `ZMK`, `ZAK`, `PVK` or `BDK`.
    #[serde(rename = "type")]
    pub key_type: String,
    /// Its clear value.
    pub clear: SecretBytes,
    /// What it is for.
    #[serde(rename = "use")]
    pub purpose: String,
    /// Check value: the first three bytes of zeros encrypted, in hex.
    pub kcv: String,
}

/// Hex in the file; wiped, masked.
pub struct SecretBytes(Zeroizing<Vec<u8>>);

impl SecretBytes {
    /// The clear bytes. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes ****", self.0.len())
    }
}

impl<'de> Deserialize<'de> for SecretBytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Zeroizing::new(String::deserialize(deserializer)?);
        let bytes = hex::decode(text.as_bytes()).map_err(|_| D::Error::custom("not hex"))?;
        Ok(Self(Zeroizing::new(bytes)))
    }
}

/// Digits that prove a PIN, or are one; wiped, masked.
pub struct SecretDigits(Zeroizing<Box<[u8]>>);

impl SecretDigits {
    /// The clear ASCII digits. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_digits(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretDigits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl<'de> Deserialize<'de> for SecretDigits {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let digits = Zeroizing::new(String::deserialize(deserializer)?.into_bytes());
        if !(4..=12).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
            return Err(D::Error::custom("not 4 to 12 digits"));
        }
        Ok(Self(Zeroizing::new(digits.as_slice().into())))
    }
}

fn pan<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Pan, D::Error> {
    let text = Zeroizing::new(String::deserialize(deserializer)?);
    Pan::parse(text.as_bytes()).map_err(D::Error::custom)
}

fn number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
}

/// Where changes of a product go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum WorldRoute {
    /// Done here.
    Cms,
    /// Forwarded.
    Postilion,
}

/// How a product's references are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinMethod {
    /// IBM 3624 offset.
    #[serde(rename = "ibm-3624")]
    Ibm3624,
    /// The PIN under the LMK.
    LmkPin,
    /// Visa PVV.
    VisaPvv,
}

/// What a product refuses in a new PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinRule {
    /// `1234`, `9876`.
    NotARunUpOrDown,
    /// `1111`.
    NotOneDigitRepeated,
    /// The PIN the card has.
    NotTheCurrentPin,
}

/// Validation data of IBM 3624.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Validation {
    /// First digit of the number, from 0.
    pub start: u8,
    /// How many.
    pub length: u8,
    /// Fill to sixteen.
    pub pad: char,
}

/// A product of the world.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldProduct {
    /// Digits its card numbers begin with.
    pub bin: String,
    /// Organization.
    pub organization: u16,
    /// Logo.
    pub logo: u16,
    /// Has a chip.
    pub chip: bool,
    /// How references are made.
    pub pin_method: PinMethod,
    /// Name of the PIN verification key.
    pub pvk: Option<String>,
    /// Index of the pair, for a PVV.
    pub pvki: Option<char>,
    /// Sixteen digits, for IBM 3624.
    pub decimalization_table: Option<String>,
    /// For IBM 3624.
    pub validation: Option<Validation>,
    /// Allowed lengths of a PIN.
    pub pin_lengths: Vec<u8>,
    /// Where changes go.
    pub route: WorldRoute,
    /// Keeps PINs its owner may ask for.
    #[serde(default)]
    pub recoverable: bool,
    /// What a new PIN must not be.
    pub new_pin_rules: Vec<PinRule>,
}

/// A card of the world.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorldCard {
    /// Its number.
    #[serde(deserialize_with = "pan")]
    pub pan: Pan,
    /// Sequence number.
    #[serde(rename = "seq", deserialize_with = "number")]
    pub sequence: u16,
    /// YYMM.
    #[serde(deserialize_with = "number")]
    pub expiry: u16,
    /// Name of its product.
    pub product: String,
    /// Its PIN at the start.
    pub pin_for_tests: SecretDigits,
    /// Status.
    pub status: CardStatus,
    /// Reference, where the product makes PVVs.
    pub pvv: Option<SecretDigits>,
    /// Reference, where the product makes offsets.
    pub offset: Option<SecretDigits>,
    /// Present where the product keeps the PIN itself; the text says that it is made at import.
    pub lmk_pin: Option<String>,
    /// PINs of this card are suppressed.
    #[serde(default)]
    pub pin_suppressed: bool,
    /// Wrong PINs in a row.
    #[serde(default)]
    pub pin_tries_used: u8,
    /// Status of the account.
    #[serde(default)]
    pub account_status: AccountStatus,
    /// Type of the account.
    #[serde(default)]
    pub account_type: AccountType,
    /// Account-type code of seed 002.
    pub account_type_code: Option<String>,
    /// CVV2 of seed 002's sample.
    pub cvv2: Option<SecretText>,
    /// Payment-instrument id.
    pub payment_instrument_id: Option<String>,
    /// Token that stands for the number.
    pub pan_token: Option<String>,
    /// Card id.
    pub card_id: Option<String>,
    /// Owner's id at a partner.
    pub external_user_id: Option<String>,
    /// Owner's account.
    pub account_id: Option<String>,
    /// Owner as a person.
    pub person_id: Option<String>,
    /// Why the card is in the world.
    pub note: Option<String>,
}

/// A text that is wiped and masked.
pub struct SecretText(Zeroizing<String>);

impl SecretText {
    /// The clear text. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_text(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl<'de> Deserialize<'de> for SecretText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self(Zeroizing::new(String::deserialize(deserializer)?)))
    }
}

/// One PIN change with everything known of it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PinBlockSample {
    /// Name of the zone key.
    pub zpk: String,
    /// The card.
    #[serde(deserialize_with = "pan")]
    pub pan: Pan,
    /// Current PIN.
    pub current: SecretDigits,
    /// Its block under the zone key.
    pub current_block: SecretBytes,
    /// New PIN.
    pub new: SecretDigits,
    /// Its block under the zone key.
    pub new_block: SecretBytes,
    /// `ISO-0`.
    pub format: String,
    /// What the change must leave in the card's record.
    pub new_reference: SampleReference,
}

/// One of the two.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum SampleReference {
    /// IBM 3624 offset.
    Offset(SecretDigits),
    /// Visa PVV.
    Pvv(SecretDigits),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_embedded_file_is_a_world() {
        let world = World::embedded().unwrap();
        assert_eq!((world.keys.len(), world.products.len()), (9, 5));
        assert_eq!((world.cards.len(), world.pin_block_samples.len()), (16, 5));
        for card in &world.cards {
            let product = &world.products[&card.product];
            assert!(card.pan.expose_digits().starts_with(product.bin.as_bytes()), "{:?}", card.pan);
            let references = [card.pvv.is_some(), card.offset.is_some(), card.lmk_pin.is_some()];
            let want = match product.pin_method {
                PinMethod::VisaPvv => [true, false, false],
                PinMethod::Ibm3624 => [false, true, false],
                PinMethod::LmkPin => [false, false, true],
            };
            assert_eq!(references, want, "{:?}", card.pan);
        }
        for product in world.products.values() {
            assert!(product.pvk.as_ref().is_none_or(|name| world.keys.contains_key(name)));
        }
    }

    #[test]
    fn cards_are_found_by_number() {
        let world = World::embedded().unwrap();
        let find = |digits: &[u8]| world.card(&Pan::parse(digits).unwrap());
        assert_eq!(find(b"4761739001010028").unwrap().status, CardStatus::Blocked);
        assert_eq!(find(b"5060990000000151002").unwrap().sequence, 1);
        assert!(find(b"4000000000000002").is_none());
        assert_eq!(world.clear_key("zpk.atm").unwrap()[..2], [0x23, 0x15]);
        assert!(world.clear_key("zpk.none").is_none());
    }

    /// Every secret value of the file, searched in the text that a careless log line would print.
    #[test]
    fn debug_shows_no_secret() {
        let world = World::embedded().unwrap();
        let shown = format!("{world:?}");
        for key in world.keys.values() {
            assert!(!shown.contains(&hex::encode_upper(key.clear.expose_bytes())));
        }
        for sample in &world.pin_block_samples {
            assert!(!shown.contains(&hex::encode_upper(sample.new_block.expose_bytes())));
        }
        for card in &world.cards {
            let digits = card.pan.expose_digits();
            assert!(!shown.contains(std::str::from_utf8(digits).unwrap()));
        }
        assert!(!shown.contains("\"1234\"") && !shown.contains("8034"));
    }
}
