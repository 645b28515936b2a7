//! Which card a request means, and whether its client may name it.
//!
//! A record that disagrees with the owner a request names is a card unknown, and so is a number outside what the client
//! is limited to. A card named by another identity is opened to its number here, once. **Never here:** gates, PINs.

use std::borrow::Cow;
use std::sync::Arc;

use crate::card::{CardRecord, StoreError};
use crate::domain::outcome::Reason;
use crate::domain::pan::Pan;
use crate::domain::request::{CardName, PinRequest};
use crate::switch::handle::{Switch, refused};
use crate::switch::parts::Parts;
use crate::switch::rules::Rules;

/// What the store said of a card.
pub(super) type Read = Result<Option<Arc<CardRecord>>, StoreError>;

/// The card a request means.
pub(super) struct Named<'a> {
    /// Its number.
    pub(super) pan: Cow<'a, Pan>,
    /// Its record, where the name or the owner needs it.
    pub(super) record: Option<Arc<CardRecord>>,
}

impl<P: Parts> Switch<P> {
    /// The card; `None` for one that is not there or not this client's. `read` is what the store said of its name.
    ///
    /// A card named by number, with no owner to agree with, needs no record: it may live beyond us.
    pub(super) fn name<'a>(
        &self,
        request: &'a PinRequest,
        rules: &Rules,
        read: &Read,
    ) -> Result<Option<Named<'a>>, Reason> {
        let owner = request.owner.as_deref();
        let pan = match (&request.card, owner) {
            (CardName::Pan { pan, .. }, None) => {
                return Ok(Some(Named { pan: Cow::Borrowed(pan), record: None }));
            }
            (CardName::Pan { pan, .. }, Some(_)) => Some(pan),
            (CardName::Identity { .. }, _) => None,
        };
        let record = read.clone().map_err(refused)?;
        let pan = match pan {
            Some(pan) => Cow::Borrowed(pan),
            // Without a record nobody's number is opened, so that it takes as long.
            None => Cow::Owned(self.number_of(&request.card, record.as_deref())?),
        };
        let exists = record.is_some() || matches!(request.card, CardName::Pan { .. });
        //= spec/pin-change.md#11.8
        //# A card that does not agree with the owner or the organization of a request, or with what
        //# its client is limited to, MUST be answered as a card unknown (14).
        let own = owner.is_none_or(|owner| {
            let agrees = match &record {
                Some(record) => record.belongs_to(owner),
                None => !owner.names_a_person() && owner.allows_organization(of_bin(rules, &pan)),
            };
            agrees & owner.allows_pan(&pan)
        });
        Ok((exists && own).then_some(Named { pan, record }))
    }
}

/// The organization of a number without a record: that of the product its BIN belongs to.
fn of_bin(rules: &Rules, pan: &Pan) -> Option<u16> {
    let product = rules.routes.product(pan)?;
    rules.products.named(&product.name).map(|product| product.key.organization)
}
