//! One row of an import or export file: texts to a [`CardRecord`] and back, every value checked.
//!
//! **Never here:** files, lines, the store. Where next: `card::transfer` reads and writes the files.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::card::product::{Product, Products};
use crate::card::record::{
    AccountStatus, AccountType, CardRecord, CardStatus, Identities, ProductKey,
};
use crate::card::transfer::{Import, Why};
use crate::domain::pan::Pan;
use crate::domain::pin::{LmkPin, Reference};
use crate::domain::vault::{Vault, VaultError};

/// One card of a file. Its texts may be secrets: no `Debug`, each wiped on drop.
#[derive(Default, Deserialize, Serialize)]
#[serde(default)]
pub(super) struct Row {
    pan: Text,
    seq: Text,
    expiry: Text,
    product: String,
    organization: Option<Text>,
    logo: Option<Text>,
    status: String,
    account_status: String,
    account_type: String,
    pin_suppressed: Text,
    pin_tries_used: Text,
    pvv: Option<Text>,
    offset: Option<Text>,
    lmk_pin: Option<Text>,
    pan_token: Option<String>,
    payment_instrument_id: Option<String>,
    card_id: Option<String>,
    external_user_id: Option<String>,
    account_id: Option<String>,
    person_id: Option<String>,
    /// Only test worlds have it: where no reference is given, the caller may make one of it.
    #[serde(skip_serializing)]
    pin_for_tests: Option<Text>,
}

/// A text that JSON may also write as a number or a truth value. Wiped on drop.
#[derive(Default)]
struct Text(Zeroizing<String>);

impl Text {
    fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Any {
            Flag(bool),
            Number(u64),
            Text(String),
        }
        Ok(Self::new(match Any::deserialize(from)? {
            Any::Flag(flag) => flag.to_string(),
            Any::Number(number) => number.to_string(),
            Any::Text(text) => text,
        }))
    }
}

/// Columns of a file.
pub(super) const COLUMNS: [&str; 22] = [
    "pan",
    "seq",
    "expiry",
    "product",
    "organization",
    "logo",
    "status",
    "account_status",
    "account_type",
    "pin_suppressed",
    "pin_tries_used",
    "pvv",
    "offset",
    "lmk_pin",
    "pan_token",
    "payment_instrument_id",
    "card_id",
    "external_user_id",
    "account_id",
    "person_id",
    "pin_for_tests",
    "note",
];

impl Row {
    pub(super) fn of_columns<'a>(columns: impl Iterator<Item = (&'a str, &'a str)>) -> Self {
        let mut row = Self::default();
        for (name, value) in columns {
            let text = || Text::new(value.to_owned());
            let some = || (!value.is_empty()).then(text);
            let identity = || (!value.is_empty()).then(|| value.to_owned());
            match name {
                "pan" => row.pan = text(),
                "seq" => row.seq = text(),
                "expiry" => row.expiry = text(),
                "product" => value.clone_into(&mut row.product),
                "organization" => row.organization = some(),
                "logo" => row.logo = some(),
                "status" => value.clone_into(&mut row.status),
                "account_status" => value.clone_into(&mut row.account_status),
                "account_type" => value.clone_into(&mut row.account_type),
                "pin_suppressed" => row.pin_suppressed = text(),
                "pin_tries_used" => row.pin_tries_used = text(),
                "pvv" => row.pvv = some(),
                "offset" => row.offset = some(),
                "lmk_pin" => row.lmk_pin = some(),
                "pan_token" => row.pan_token = identity(),
                "payment_instrument_id" => row.payment_instrument_id = identity(),
                "card_id" => row.card_id = identity(),
                "external_user_id" => row.external_user_id = identity(),
                "account_id" => row.account_id = identity(),
                "person_id" => row.person_id = identity(),
                "pin_for_tests" => row.pin_for_tests = some(),
                _ => {}
            }
        }
        row
    }

    pub(super) fn pan(&self) -> Result<Pan, (&'static str, Why)> {
        Pan::parse(self.pan.0.as_bytes()).map_err(|_| ("pan", Why::Rule("13 to 19 digits wanted")))
    }

    pub(super) fn card(
        &self,
        pan: &Pan,
        by: &mut Import<'_>,
    ) -> Result<CardRecord, (&'static str, Why)> {
        let product = self.product(by.products)?;
        let reference = self.reference(product, pan, by)?;
        let expiry: u16 = number("expiry", &self.expiry.0, 4, 9912, "YYMM wanted")?;
        if !(1..=12).contains(&(expiry % 100)) {
            return Err(("expiry", Why::Rule("YYMM wanted, with a month of 01 to 12")));
        }
        Ok(CardRecord {
            pan_hash: by.vault.pan_hash(pan),
            sequence: number_or_zero("seq", &self.seq.0, 3, 999, "0 to 999 wanted")?,
            version: 1,
            sealed_pan: by.vault.seal_pan(pan).map_err(|e| ("pan", e.into()))?,
            expiry,
            product: product.key,
            status: word("status", &self.status, CardStatus::Active)?,
            account_status: word("account_status", &self.account_status, AccountStatus::Active)?,
            account_type: word("account_type", &self.account_type, AccountType::Ordinary)?,
            pin_suppressed: match self.pin_suppressed.0.as_str() {
                "" | "0" | "false" | "no" => false,
                "1" | "true" | "yes" => true,
                _ => return Err(("pin_suppressed", Why::Rule("true or false wanted"))),
            },
            pin_tries_used: number_or_zero(
                "pin_tries_used",
                &self.pin_tries_used.0,
                3,
                255,
                "0 to 255 wanted",
            )?,
            changes: 0,
            changes_day: 0,
            reference,
            undo: None,
            identities: self.identities(),
        })
    }

    fn product<'a>(&self, products: &'a Products) -> Result<&'a Product, (&'static str, Why)> {
        let found = if self.product.is_empty() {
            let (Some(organization), Some(logo)) = (&self.organization, &self.logo) else {
                return Err(("product", Why::Rule("product, or organization and logo, wanted")));
            };
            products.get(ProductKey {
                organization: number("organization", &organization.0, 3, 998, "0 to 998 wanted")?,
                logo: number("logo", &logo.0, 3, 999, "0 to 999 wanted")?,
            })
        } else {
            products.named(&self.product)
        };
        found.map(|p| &**p).ok_or(("product", Why::UnknownProduct))
    }

    fn reference(
        &self,
        product: &Product,
        pan: &Pan,
        by: &mut Import<'_>,
    ) -> Result<Reference, (&'static str, Why)> {
        if let Some(pvv) = &self.pvv {
            return pvv4(&pvv.0).ok_or(("pvv", Why::Rule("4 digits wanted")));
        }
        if let Some(offset) = &self.offset {
            return offset12(&offset.0).ok_or(("offset", Why::Rule("4 to 12 digits wanted")));
        }
        let mut lmk = [0; 16];
        if let Some(pin) = &self.lmk_pin
            && hex::decode_to_slice(pin.0.as_bytes(), &mut lmk).is_ok()
        {
            return Ok(Reference::Lmk(LmkPin(lmk)));
        }
        let pin = self.pin_for_tests.as_ref().map(|pin| pin.0.as_str());
        if pin.is_none() && self.lmk_pin.is_some() {
            return Err(("lmk_pin", Why::Rule("32 hex digits wanted")));
        }
        (by.reference)(product, pan, pin).map_err(|why| ("pin_for_tests", Why::Rule(why)))
    }

    fn identities(&self) -> Option<Box<Identities>> {
        let text = |t: &Option<String>| t.as_deref().map(Box::from);
        let identities = Identities {
            pan_token: text(&self.pan_token),
            payment_instrument: text(&self.payment_instrument_id),
            card_id: text(&self.card_id),
            external_user_id: text(&self.external_user_id),
            account_id: text(&self.account_id),
            person_id: text(&self.person_id),
        };
        (identities != Identities::default()).then(|| Box::new(identities))
    }
}

fn pvv4(text: &str) -> Option<Reference> {
    let digits: [u8; 4] = text.as_bytes().try_into().ok()?;
    digits.iter().all(u8::is_ascii_digit).then_some(Reference::Pvv(digits))
}

fn offset12(text: &str) -> Option<Reference> {
    let ok = (4..=12).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    let len = u8::try_from(text.len()).ok().filter(|_| ok)?;
    let mut digits = [0; 12];
    digits.iter_mut().zip(text.bytes()).for_each(|(to, from)| *to = from - b'0');
    Some(Reference::Offset { digits, len })
}

/// A number of at most `digits` digits and at most `max`.
fn number<T: FromStr + PartialOrd + Copy>(
    column: &'static str,
    text: &str,
    digits: usize,
    max: T,
    rule: &'static str,
) -> Result<T, (&'static str, Why)> {
    let plain = text.len() <= digits && text.bytes().all(|b| b.is_ascii_digit());
    let value = text.parse().ok().filter(|value| plain && *value <= max);
    value.ok_or((column, Why::Rule(rule)))
}

fn number_or_zero<T: FromStr + PartialOrd + Copy + Default>(
    column: &'static str,
    text: &str,
    digits: usize,
    max: T,
    rule: &'static str,
) -> Result<T, (&'static str, Why)> {
    if text.is_empty() { Ok(T::default()) } else { number(column, text, digits, max, rule) }
}

/// A word of the closed set that `T` reads, `default` where there is none.
fn word<'a, T: Deserialize<'a>>(
    column: &'static str,
    text: &'a str,
    default: T,
) -> Result<T, (&'static str, Why)> {
    if text.is_empty() {
        return Ok(default);
    }
    let reader = serde::de::value::BorrowedStrDeserializer::<serde::de::value::Error>::new(text);
    T::deserialize(reader).map_err(|_| (column, Why::Rule("word not known")))
}

impl Row {
    pub(super) fn of_card(card: &CardRecord, vault: &dyn Vault) -> Result<Self, VaultError> {
        let pan = vault.open_pan(&card.sealed_pan)?;
        let word = |word: Result<serde_json::Value, serde_json::Error>| {
            word.ok().and_then(|w| w.as_str().map(str::to_owned)).unwrap_or_default()
        };
        let mut row = Self {
            pan: Text::new(String::from_utf8_lossy(pan.expose_digits()).into_owned()),
            seq: Text::new(format!("{:03}", card.sequence)),
            expiry: Text::new(format!("{:04}", card.expiry)),
            organization: Some(Text::new(card.product.organization.to_string())),
            logo: Some(Text::new(card.product.logo.to_string())),
            status: word(serde_json::to_value(card.status)),
            account_status: word(serde_json::to_value(card.account_status)),
            account_type: word(serde_json::to_value(card.account_type)),
            pin_suppressed: Text::new(card.pin_suppressed.to_string()),
            pin_tries_used: Text::new(card.pin_tries_used.to_string()),
            ..Self::default()
        };
        match &card.reference {
            Reference::None => {}
            Reference::Offset { digits, len } => {
                let digits = digits.iter().take(usize::from(*len));
                row.offset = Some(Text::new(digits.map(|d| char::from(b'0' + d % 10)).collect()));
            }
            Reference::Lmk(pin) => row.lmk_pin = Some(Text::new(hex::encode_upper(pin.0))),
            Reference::Pvv(pvv) => {
                row.pvv = Some(Text::new(String::from_utf8_lossy(pvv).into_owned()));
            }
        }
        if let Some(identities) = &card.identities {
            let text = |t: &Option<Box<str>>| t.as_deref().map(str::to_owned);
            row.pan_token = text(&identities.pan_token);
            row.payment_instrument_id = text(&identities.payment_instrument);
            row.card_id = text(&identities.card_id);
            row.external_user_id = text(&identities.external_user_id);
            row.account_id = text(&identities.account_id);
            row.person_id = text(&identities.person_id);
        }
        Ok(row)
    }
}
