//! A change: the current PIN verified and the reference of the new one made, by as few commands as there are for it.
//!
//! A block that holds no PIN is told before any verdict, as far as the device does so: CU and DU look at the current
//! block first, so that a wrong current PIN beside a block without one is a wrong PIN.

use crate::domain::pin::{Method, PinRules, PresentedPin, Reference, ZonePin};
use crate::hsm::payshield::client::commands::make::{From, Made};
use crate::hsm::payshield::client::commands::verify::offset_of;
use crate::hsm::payshield::client::commands::{Desk, block_of};
use crate::hsm::payshield::wire::field::{Offset, Pvv};
use crate::hsm::{Change, ChangeVerdict, HsmError};

/// Whether CU or DU does it: both blocks under one zone key, in one format, and a reference of the method.
fn is_one_command<'a>(change: &Change<'a>) -> Option<(&'a ZonePin, &'a ZonePin)> {
    let (PresentedPin::Zone(current), PresentedPin::Zone(new)) = (change.current, change.new)
    else {
        return None;
    };
    let fits = matches!(
        (change.method, change.reference),
        (Method::VisaPvv { .. }, Reference::Pvv(_))
            | (Method::Ibm3624 { .. }, Reference::Offset { .. })
    );
    let alike = current.key() == new.key() && current.format() == new.format();
    let zone = current.ksn().is_none() && new.ksn().is_none();
    (fits && alike && zone).then_some((current, new))
}

impl Desk<'_> {
    /// Verifies and makes. A wrong PIN is not counted here.
    pub(in crate::hsm::payshield::client) async fn change(
        &self,
        change: &Change<'_>,
    ) -> Result<ChangeVerdict, HsmError> {
        let Change { current, new, method, reference, rules, .. } = *change;
        let made = if let Some((current_block, new_block)) = is_one_command(change) {
            match self.at_once(current_block, new_block, change).await? {
                // A device may look at the table before it looks at the current PIN; and whoever is told that a new
                // PIN is refused has tries again. So the current PIN is verified by itself then.
                Made::Refused => {
                    let right = self.is_right(current, method, reference).await?;
                    if right { Made::Refused } else { Made::Wrong }
                }
                made => made,
            }
        } else {
            let (made, right) = futures_util::future::join(
                self.make(new, method, rules),
                self.is_right(current, method, reference),
            )
            .await;
            let made = made?;
            if right? { made } else { Made::Wrong }
        };
        match made {
            Made::Wrong => Ok(ChangeVerdict::Wrong),
            Made::Refused => Ok(ChangeVerdict::RightButUnacceptable),
            Made::Reference(made) => {
                let unchanged =
                    rules.not_the_current && self.is_current(method, &made, reference).await?;
                Ok(if unchanged {
                    ChangeVerdict::RightButUnacceptable
                } else {
                    ChangeVerdict::Right(made)
                })
            }
        }
    }

    /// By CU or DU.
    async fn at_once(
        &self,
        current: &ZonePin,
        new: &ZonePin,
        change: &Change<'_>,
    ) -> Result<Made, HsmError> {
        let way = self.way(change.method)?.ok_or(HsmError::KeyUnusable)?;
        let (pvv, offset) = match change.reference {
            Reference::Pvv(pvv) => (Pvv(*pvv), Offset([b'F'; 12])),
            Reference::Offset { digits, len } => (Pvv(*b"0000"), offset_of(digits, *len)),
            Reference::None | Reference::Lmk(_) => return Err(HsmError::StoredPinCorrupt),
        };
        let from = From::Change { new, current: block_of(current)?, pvv, offset };
        self.by_tables(&way, &from, change.rules).await
    }

    /// The reference of a new PIN whose sender need not prove the current one.
    pub(in crate::hsm::payshield::client) async fn derive(
        &self,
        new: &PresentedPin,
        method: &Method,
        rules: &PinRules,
        current: &Reference,
    ) -> Result<Reference, HsmError> {
        match self.make(new, method, rules).await? {
            Made::Reference(made) => {
                if rules.not_the_current && self.is_current(method, &made, current).await? {
                    return Err(HsmError::NewPinUnacceptable);
                }
                Ok(made)
            }
            Made::Refused => Err(HsmError::NewPinUnacceptable),
            Made::Wrong => Err(HsmError::Unavailable),
        }
    }
}
