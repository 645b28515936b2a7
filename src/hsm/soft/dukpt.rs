//! Base derivation keys: the PIN key of one transaction of one DUKPT terminal.
//!
//! The key is derived for each block and wiped with it: a terminal uses a key once, so nothing could be kept but its
//! initial key, which is the cheap part (`pin::dukpt`, `pin::dukpt_aes` say what the rest costs). **Never here:** a
//! block, a grace period: a base derivation key has no key before it.

use crate::domain::pin::Ksn;
use crate::hsm::HsmError;
use crate::hsm::key::Algorithm;
use crate::hsm::soft::table::Schedule;
use crate::pin::dukpt_aes::Serial;
use crate::pin::tdes::Tdes;
use crate::pin::{dukpt, dukpt_aes};

/// A base derivation key with its schedules prepared.
#[expect(clippy::large_enum_variant, reason = "kept in a box, once a key")]
pub(super) enum Bdk {
    /// X9.24-3.
    Aes(dukpt_aes::Base),
    /// X9.24-1.
    Tdes(dukpt::Base),
}

impl Bdk {
    pub(super) fn new(algorithm: Algorithm, bytes: &[u8]) -> Option<Self> {
        match algorithm {
            Algorithm::Aes => dukpt_aes::Base::new(bytes).map(Self::Aes),
            Algorithm::Tdes => Some(Self::Tdes(dukpt::Base::new(bytes.try_into().ok()?))),
            Algorithm::Hmac | Algorithm::Rsa => None,
        }
    }

    /// The key of the transaction's PIN blocks. A serial number of another length than the algorithm's, or one whose
    /// counter no transaction can have, names no key.
    pub(super) fn pin_key(&self, ksn: &Ksn) -> Result<Schedule, HsmError> {
        let key = match self {
            Self::Aes(base) => aes_key(base, ksn).map(Schedule::Aes),
            Self::Tdes(base) => ten_bytes(ksn).filter(dukpt::is_of_a_transaction).map(|ksn| {
                let key = base.working_key(&ksn, dukpt::Purpose::Pin);
                Schedule::Tdes { cipher: Tdes::double(&key), double: true }
            }),
        };
        key.ok_or(HsmError::KeyUnusable)
    }
}

fn aes_key(base: &dukpt_aes::Base, ksn: &Ksn) -> Option<crate::pin::aes::Aes> {
    let serial = Serial::new(ksn.bytes().try_into().ok()?)?;
    base.working_key(serial, dukpt_aes::Purpose::Pin)?.cipher()
}

/// Ten bytes, or eight with the two before them that older terminals leave out.
fn ten_bytes(ksn: &Ksn) -> Option<[u8; 10]> {
    let mut whole = [0xFF; 10];
    let at = 10_usize.checked_sub(ksn.bytes().len())?;
    whole.get_mut(at..)?.copy_from_slice(ksn.bytes());
    Some(whole)
}
