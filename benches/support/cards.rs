//! What the benches of the stores share: a vault, cards, and one change as the switch makes it.
//!
//! **Never here:** a clock that is read for a measurement.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use pinion::card::record::{AccountStatus, AccountType, CardRecord, CardStatus, ProductKey};
use pinion::card::{CardKey, Commit, Entry, Fingerprint, Seen, Store};
use pinion::domain::clock::{Clock as _, SystemClock};
use pinion::domain::pan::{Pan, PanHash, SealedPan};
use pinion::domain::pin::Reference;
use pinion::domain::request::{LinkId, Operation, Tag, Trace, TransactionKey};
use pinion::domain::vault::{Vault, VaultError};
use sha2::Sha256;

/// Hashes as the real vault does; seals nothing.
pub(crate) struct BenchVault(Hmac<Sha256>);

impl Vault for BenchVault {
    fn pan_hash(&self, pan: &Pan) -> PanHash {
        let mut mac = self.0.clone();
        mac.update(pan.expose_digits());
        PanHash(*mac.finalize().into_bytes().first_chunk().unwrap())
    }

    fn seal_pan(&self, pan: &Pan) -> Result<SealedPan, VaultError> {
        let mut sealed = [0; SealedPan::BYTES];
        sealed[0] = u8::try_from(pan.expose_digits().len()).unwrap();
        sealed[1..=pan.expose_digits().len()].copy_from_slice(pan.expose_digits());
        Ok(SealedPan(sealed))
    }

    fn open_pan(&self, sealed: &SealedPan) -> Result<Pan, VaultError> {
        Pan::parse(&sealed.0[1..=usize::from(sealed.0[0])]).map_err(|_| VaultError::Forged)
    }

    fn chain(&self, before: &[u8; 32], record: &[u8]) -> [u8; 32] {
        let mut mac = self.0.clone();
        mac.update(before);
        mac.update(record);
        mac.finalize().into_bytes().into()
    }
}

pub(crate) fn vault() -> Arc<BenchVault> {
    Arc::new(BenchVault(Hmac::new_from_slice(&[7; 32]).unwrap()))
}

pub(crate) fn pan(number: u64) -> Pan {
    Pan::parse(format!("476173{number:010}").as_bytes()).unwrap()
}

pub(crate) fn card(vault: &BenchVault, number: u64) -> CardRecord {
    let pan = pan(number);
    CardRecord {
        pan_hash: vault.pan_hash(&pan),
        sequence: 0,
        version: 1,
        sealed_pan: vault.seal_pan(&pan).unwrap(),
        expiry: 4912,
        product: ProductKey { organization: 600, logo: 1 },
        status: CardStatus::Active,
        account_status: AccountStatus::Active,
        account_type: AccountType::Ordinary,
        pin_suppressed: false,
        pin_tries_used: 0,
        changes: 0,
        changes_day: 0,
        reference: Reference::Pvv(*b"1234"),
        undo: None,
        identities: None,
    }
}

/// A key that looks like the hash it is in earnest.
pub(crate) fn key(number: u64) -> TransactionKey {
    let mixed = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let mut key = [0; 16];
    key[..8].copy_from_slice(&mixed.to_le_bytes());
    key[8..].copy_from_slice(&number.to_be_bytes());
    TransactionKey(key)
}

/// What is journaled of a change.
pub(crate) fn entry(number: u64, hash: PanHash, clock: SystemClock) -> Entry {
    Entry {
        key: key(number),
        fingerprint: Fingerprint(number),
        operation: Operation::Change,
        pan_hash: Some(hash),
        declined: None,
        at: clock.wall(),
        link: LinkId(1),
        trace: Trace {
            stan: Tag::new(b"123456"),
            rrn: Tag::new(b"123456789012"),
            terminal: Tag::new(b"ATM00001"),
        },
        original: None,
        overridden: false,
    }
}

/// One whole change as the switch does it: claim, read, commit.
pub(crate) async fn change(store: &impl Store, clock: SystemClock, number: u64, hash: PanHash) {
    let seen = store.claim(key(number), Fingerprint(number)).await.unwrap();
    let Seen::Fresh(mut claim) = seen else { unreachable!("nobody has this key") };
    loop {
        let card = (*store.card(CardKey::Pan(hash, None)).await.unwrap().unwrap()).clone();
        let commit = Commit { card: Some(card), entry: entry(number, hash, clock), reopens: None };
        match store.commit(claim, commit).await {
            Ok(_) => return,
            Err(refused) => claim = refused.claim.unwrap(),
        }
    }
}
