//! [`CardRecord`]: one card as the CMS knows it. **Never here:** a clear PAN, a clear PIN, rules of a product.

use crate::domain::owner::Owner;
use crate::domain::pan::{PanHash, SealedPan};
use crate::domain::pin::Reference;
use crate::domain::request::TransactionKey;

/// One card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CardRecord {
    /// Keyed hash of the number.
    pub pan_hash: PanHash,
    /// Sequence number on the number (DE 23), 0 to 999.
    pub sequence: u16,
    /// Counts the card's changes; compare-and-set goes by it.
    pub version: u32,
    /// The number at rest.
    pub sealed_pan: SealedPan,
    /// Expiry as YYMM, for example 3012.
    pub expiry: u16,
    /// Which product: organization and logo.
    pub product: ProductKey,
    /// Status of the card.
    pub status: CardStatus,
    /// Status of the account behind it.
    pub account_status: AccountStatus,
    /// Type of that account.
    pub account_type: AccountType,
    /// PINs of this card are suppressed.
    pub pin_suppressed: bool,
    /// Wrong PINs in a row.
    pub pin_tries_used: u8,
    /// Changes on [`Self::changes_day`].
    pub changes: u8,
    /// Day (since 1970) that [`Self::changes`] counts.
    pub changes_day: u32,
    /// What tells a right PIN.
    pub reference: Reference,
    /// How to undo the last change; gone once undone.
    pub undo: Option<Undo>,
    /// Identities beside the number. Most cards have none or one.
    pub identities: Option<Box<Identities>>,
}

impl CardRecord {
    /// Whether the record agrees with what a request says of its owner. Its number is another matter: it is sealed.
    #[must_use]
    pub fn belongs_to(&self, owner: &Owner) -> bool {
        let none = Identities::default();
        let identities = self.identities.as_deref().unwrap_or(&none);
        let agrees =
            |named: &Option<Box<str>>, has: &Option<Box<str>>| named.is_none() || named == has;
        agrees(&owner.external_user_id, &identities.external_user_id)
            && agrees(&owner.account_id, &identities.account_id)
            && agrees(&owner.person_id, &identities.person_id)
            && owner.allows_organization(Some(self.product.organization))
    }
}

/// What a reversal needs: it applies only while the card's last PIN change is the one it names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Undo {
    /// Key of the change.
    pub key: TransactionKey,
    /// The reference before it.
    pub reference: Reference,
}

/// Organization and logo (card product) numbers: what a card record names its product by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProductKey {
    /// Bank organization, 0 to 998.
    pub organization: u16,
    /// Logo, 0 to 999.
    pub logo: u16,
}

/// Status of a card.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum CardStatus {
    /// In use.
    Active = 1,
    /// Blocked by the issuer.
    Blocked = 2,
    /// Closed.
    Closed = 3,
    /// Reported lost.
    Lost = 4,
    /// Issued, not activated yet.
    NotActivated = 5,
    /// Reported stolen.
    Stolen = 6,
}

/// Status of the account behind a card.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum AccountStatus {
    /// In use.
    #[default]
    Active = 1,
    /// Blocked.
    Blocked = 2,
    /// Its status allows no PIN change.
    NotAllowed = 3,
}

/// Type of the account behind a card, as far as PIN changes care.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u8)]
pub enum AccountType {
    /// Allowed.
    #[default]
    Ordinary = 1,
    /// This type allows no PIN change.
    NotAllowed = 2,
}

/// Identities of a card beside its number, and of its owner. All optional; texts of at most 64 bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identities {
    /// Stands for the number.
    pub pan_token: Option<Box<str>>,
    /// Payment-instrument id.
    pub payment_instrument: Option<Box<str>>,
    /// Card id of the issuer's platform.
    pub card_id: Option<Box<str>>,
    /// Owner's id at a partner.
    pub external_user_id: Option<Box<str>>,
    /// Owner's account.
    pub account_id: Option<Box<str>>,
    /// Owner as a person.
    pub person_id: Option<Box<str>>,
}
