//! The reference of a new PIN, if the rules accept it: FW, BK of a block, DG, DE of a PIN under the LMK.
//!
//! The rules travel as a table of excluded PINs, which is of one length. So a device that says 81 (another length) is
//! asked again with the table of the next one, and where an allowed length has no excluded PINs, the length is found
//! out by a translation. With one allowed length and rules, as nearly every product has, all is one command.

use std::sync::Arc;

use crate::domain::pin::{KeyId, LmkPin, Method, PinRules, PresentedPin, Reference, ZonePin};
use crate::hsm::HsmError;
use crate::hsm::payshield::client::commands::verify::{Ibm, reference_of, same};
use crate::hsm::payshield::client::commands::{Answer, CHECK_MIN, Desk, block_of, format_code};
use crate::hsm::payshield::client::keys::Slot;
use crate::hsm::payshield::client::policy::{self, Weak};
use crate::hsm::payshield::client::reply::Data;
use crate::hsm::payshield::wire::Request;
use crate::hsm::payshield::wire::command::references::{
    ChangeIbm, ChangePvv, ChosenIbm, ChosenPvv,
};
use crate::hsm::payshield::wire::field::{
    Account, Count2, FormatCode, Offset, PinBlock, Pvki, Pvv,
};
use crate::hsm::payshield::wire::key::{KeyType, PinKey, PvkPair};
use crate::hsm::payshield::wire::option::Excluded;

/// What is asked for a new PIN.
pub(super) enum Made {
    /// The rules accept it.
    Reference(Reference),
    /// They do not.
    Refused,
    /// The current PIN is wrong, where that was asked as well.
    Wrong,
}

/// How a product's references are made, with the key at hand.
#[derive(Clone, Copy)]
pub(super) enum Way<'d> {
    /// Visa PVV.
    Pvv(&'d Arc<Slot>, u8),
    /// IBM 3624.
    Ibm(Ibm<'d>),
}

/// What a reference is made of.
#[derive(Clone, Copy)]
pub(super) enum From<'a> {
    /// A block: FW, BK.
    Block(&'a ZonePin),
    /// A PIN under the LMK: DG, DE.
    Lmk(&'a LmkPin),
    /// A block whose sender proves the current PIN by another: CU, DU.
    Change {
        /// The new PIN.
        new: &'a ZonePin,
        /// The current one, under the same key in the same format.
        current: PinBlock,
        /// Its reference.
        pvv: Pvv,
        /// Its reference.
        offset: Offset,
    },
}

/// What an answer says of the new PIN.
fn made(answer: &Answer) -> Result<Made, HsmError> {
    match answer {
        Answer::Done(Data::Pvv(pvv)) => Ok(Made::Reference(Reference::Pvv(pvv.0))),
        Answer::Done(Data::Offset(offset)) => Ok(Made::Reference(reference_of(offset))),
        Answer::Wrong => Ok(Made::Wrong),
        Answer::Excluded | Answer::OtherLength | Answer::Short => Ok(Made::Refused),
        Answer::Done(_) => Err(HsmError::Unavailable),
    }
}

/// Whether a length is allowed, and no PIN of it excluded.
fn is_free(length: u8, rules: &PinRules) -> bool {
    rules.allows_length(length.into()) && Weak::of(rules, length).is_ok_and(|weak| weak.is_empty())
}

/// A PVV key index for a PVV that nobody looks at.
const ANY_PVKI: u8 = b'1';

/// The fields of FW, BK, CU and DU that do not depend on the key.
#[derive(Clone, Copy)]
struct Chosen<'a> {
    new: PinBlock,
    current: Option<(PinBlock, Pvv, Offset)>,
    format: FormatCode,
    account: Account,
    check: Count2,
    excluded: Option<Excluded<'a>>,
}

impl<'a> Chosen<'a> {
    fn by_pvv(
        self,
        key_type: KeyType,
        key: PinKey<'a>,
        pvk: PvkPair<'a>,
        pvki: Pvki,
    ) -> Request<'a> {
        let Self { new, current, format, account, excluded, .. } = self;
        match current {
            None => Request::ChosenPvv(ChosenPvv {
                key_type,
                key,
                pvk,
                block: new,
                format,
                account,
                pvki,
                excluded,
            }),
            Some((current, pvv, _)) => Request::ChangePvv(ChangePvv {
                key_type,
                key,
                pvk,
                current,
                format,
                account,
                pvki,
                pvv,
                new,
                excluded,
            }),
        }
    }

    fn by_ibm(self, key_type: KeyType, key: PinKey<'a>, ibm: &Ibm<'a>) -> Request<'a> {
        let Self { new, current, format, account, check, excluded } = self;
        let (pvk, table, data) = (ibm.pvk.newest.token.key(), ibm.table, ibm.data);
        match current {
            None => Request::ChosenIbm(ChosenIbm {
                key_type,
                key,
                pvk,
                block: new,
                format,
                check,
                account,
                table,
                data,
                excluded,
            }),
            Some((current, _, offset)) => Request::ChangeIbm(ChangeIbm {
                key_type,
                key,
                pvk,
                current,
                format,
                check,
                account,
                table,
                data,
                offset,
                new,
                excluded,
            }),
        }
    }
}

impl<'d> Desk<'d> {
    /// The way of a method that makes references. `None` for a PIN that is kept itself.
    pub(super) fn way(&self, method: &Method) -> Result<Option<Way<'d>>, HsmError> {
        Ok(match method {
            Method::LmkPin => None,
            Method::VisaPvv { pvk, pvki } => Some(Way::Pvv(self.pvk(*pvk)?, *pvki)),
            Method::Ibm3624 { .. } => Some(Way::Ibm(self.ibm(method)?)),
        })
    }

    /// The reference of a new PIN by the rules, that it is another than the current one aside.
    pub(super) async fn make(
        &self,
        new: &PresentedPin,
        method: &Method,
        rules: &PinRules,
    ) -> Result<Made, HsmError> {
        let Some(way) = self.way(method)? else {
            let pin = match new {
                PresentedPin::Lmk(pin) => *pin,
                PresentedPin::Zone(block) => self.take_in(block).await?,
            };
            let fits = self.fits(&pin, rules).await?;
            return Ok(if fits { Made::Reference(Reference::Lmk(pin)) } else { Made::Refused });
        };
        match new {
            PresentedPin::Lmk(pin) => self.by_tables(&way, &From::Lmk(pin), rules).await,
            // No command makes a reference of a block under DUKPT.
            PresentedPin::Zone(block) if block.ksn().is_some() => {
                let (block, _) = self.pass_transit(block).await?;
                self.by_tables(&way, &From::Block(&block), rules).await
            }
            PresentedPin::Zone(block) => self.by_tables(&way, &From::Block(block), rules).await,
        }
    }

    /// Asks with the table of each allowed length until one is that of the PIN.
    pub(super) async fn by_tables(
        &self,
        way: &Way<'_>,
        from: &From<'_>,
        rules: &PinRules,
    ) -> Result<Made, HsmError> {
        // The check length of IBM 3624 is the shortest PIN; one that is on file may be from before the rules.
        let shortest = policy::lengths(rules).next().unwrap_or(CHECK_MIN);
        let shortest = match from {
            From::Change { offset, .. } => {
                let on_file = u8::try_from(offset.digits().len()).unwrap_or(CHECK_MIN);
                shortest.min(on_file.max(CHECK_MIN))
            }
            From::Block(_) | From::Lmk(_) => shortest,
        };
        let mut some_without = false;
        for length in policy::lengths(rules) {
            // Configuration refuses rules that do not fit a table.
            let weak = Weak::of(rules, length).map_err(|_| HsmError::KeyUnusable)?;
            if weak.is_empty() {
                some_without = true;
                continue;
            }
            match self.put(way, from, shortest, weak.excluded()).await? {
                Answer::OtherLength => {}
                answer => return made(&answer),
            }
        }
        if !some_without {
            return Ok(Made::Refused);
        }
        let knows_length = matches!(way, Way::Ibm(_)) || policy::allows_all(rules);
        if !knows_length && !is_free(self.digits_in(from).await?, rules) {
            return Ok(Made::Refused);
        }
        match made(&self.put(way, from, shortest, None).await?)? {
            Made::Reference(Reference::Offset { len, .. }) if !is_free(len, rules) => {
                Ok(Made::Refused)
            }
            made => Ok(made),
        }
    }

    /// How many digits the new PIN has.
    async fn digits_in(&self, from: &From<'_>) -> Result<u8, HsmError> {
        match from {
            From::Block(block) | From::Change { new: block, .. } => {
                Ok(self.pass_transit(block).await?.1)
            }
            From::Lmk(pin) => self.digits_of(pin).await,
        }
    }

    /// One command.
    async fn put(
        &self,
        way: &Way<'_>,
        from: &From<'_>,
        check: u8,
        excluded: Option<Excluded<'_>>,
    ) -> Result<Answer, HsmError> {
        let answer = self.put_with(way, from, check, excluded).await?;
        // Shorter than every allowed PIN; but no PIN at all is another answer.
        if let (Answer::Short, Way::Ibm(_)) = (&answer, way) {
            let any = self.put_with(way, from, CHECK_MIN, None).await?;
            return Ok(if let Answer::Wrong = any { any } else { answer });
        }
        Ok(answer)
    }

    async fn put_with(
        &self,
        way: &Way<'_>,
        from: &From<'_>,
        check: u8,
        excluded: Option<Excluded<'_>>,
    ) -> Result<Answer, HsmError> {
        let (block, current) = match (from, way) {
            (From::Lmk(pin), Way::Pvv(pvk, pvki)) => {
                return self.pvv_of(pin, pvk, *pvki, excluded).await;
            }
            (From::Lmk(pin), Way::Ibm(ibm)) => {
                return self.offset_of_pin(pin, ibm, check, excluded).await;
            }
            (From::Block(block), _) => (*block, None),
            (From::Change { new, current, pvv, offset }, _) => {
                (*new, Some((*current, *pvv, *offset)))
            }
        };
        let slot = self.key_of(block)?;
        let check = if let Way::Ibm(_) = way { check } else { CHECK_MIN };
        let chosen = Chosen {
            new: block_of(block)?,
            current,
            format: format_code(block.format()),
            account: self.account(block.format()),
            check: Count2(check),
            excluded,
        };
        self.ask_under(slot, check, |held| {
            let (key_type, key) = (slot.kind.code(&held.token), PinKey(held.token.key()));
            match way {
                Way::Pvv(pvk, pvki) => {
                    let (pvk, pvki) = (PvkPair(pvk.newest.token.key()), Pvki([*pvki]));
                    chosen.by_pvv(key_type, key, pvk, pvki)
                }
                Way::Ibm(ibm) => chosen.by_ibm(key_type, key, ibm),
            }
        })
        .await
    }

    /// Whether the rules accept a PIN that is kept under the LMK: its PVV under a key for this purpose is made with the
    /// table, and thrown away.
    async fn fits(&self, pin: &LmkPin, rules: &PinRules) -> Result<bool, HsmError> {
        let mut some_without = false;
        for length in policy::lengths(rules) {
            let weak = Weak::of(rules, length).map_err(|_| HsmError::KeyUnusable)?;
            if weak.is_empty() {
                some_without = true;
                continue;
            }
            let policy: KeyId = self.keys.policy.ok_or(HsmError::KeyUnknown)?;
            match self.pvv_of(pin, self.pvk(policy)?, ANY_PVKI, weak.excluded()).await? {
                Answer::Done(_) => return Ok(true),
                Answer::Excluded => return Ok(false),
                Answer::OtherLength => {}
                Answer::Wrong | Answer::Short => return Err(HsmError::Unavailable),
            }
        }
        if !some_without || policy::allows_all(rules) {
            return Ok(some_without);
        }
        Ok(is_free(self.digits_of(pin).await?, rules))
    }

    /// Whether a new PIN with this reference is the current one. Of a PVV that is so for one PIN in ten thousand that
    /// is another, and for two long PINs that begin alike: a PVV knows no better.
    pub(super) async fn is_current(
        &self,
        method: &Method,
        new: &Reference,
        current: &Reference,
    ) -> Result<bool, HsmError> {
        match (method, new, current) {
            (_, _, Reference::None) => Ok(false),
            (Method::LmkPin, Reference::Lmk(new), Reference::Lmk(current)) => {
                self.compare_lmk(new, current).await
            }
            (Method::VisaPvv { .. }, Reference::Pvv(_), Reference::Pvv(_))
            | (Method::Ibm3624 { .. }, Reference::Offset { .. }, Reference::Offset { .. }) => {
                Ok(same(new, current))
            }
            (Method::LmkPin | Method::VisaPvv { .. } | Method::Ibm3624 { .. }, _, _) => {
                Err(HsmError::StoredPinCorrupt)
            }
        }
    }
}
