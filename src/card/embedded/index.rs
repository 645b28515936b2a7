//! What is read without waiting for the disk: cards, identities, transaction keys. Lock-free maps.
//!
//! Cards and identities have one writer at a time (the committer, or the loader and bulk before it runs); anybody
//! reads. A transaction key is claimed by one atomic insert and answered by one atomic store. **Never here:** files.

use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};

use papaya::HashMap;

use crate::card::archive::{Answer, Known};
use crate::card::embedded::claim::Claim;
use crate::card::embedded::ledger::Ledger;
use crate::card::embedded::moving;
use crate::card::record::CardRecord;
use crate::card::{CardKey, Entry, Fingerprint, Receipt, Seen, StoreError};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::{Declined, HostCode, Outcome, Reason};
use crate::domain::pan::PanHash;
use crate::domain::request::{IdentityKind, TransactionKey};

/// Room for transaction keys at the start: 16 MiB. Growing moves every key that is there, and a request that inserts
/// helps with it.
const TRANSACTIONS_AT_START: usize = 1 << 20;

/// Everything in memory.
pub(crate) struct Index {
    cards: HashMap<PanHash, Slot, BuildHasherDefault<AlreadyHashed>>,
    identities: [HashMap<Box<str>, (PanHash, u16)>; 3],
    transactions: HashMap<TransactionKey, Transaction>,
    transactions_max: usize,
    cards_count: AtomicUsize,
    /// Forwarded changes.
    pub(crate) ledger: Ledger,
}

/// The cards of one number.
enum Slot {
    One(Arc<CardRecord>),
    Many(Arc<Vec<Arc<CardRecord>>>),
}

/// What is known of one key: 24 bytes beside its 16.
struct Transaction {
    fingerprint: Fingerprint,
    /// 0 while in progress, else `sequence << 8 | code`, and [`FORWARDED`].
    state: AtomicU64,
    /// Minutes since 1970 of the answer.
    minute: AtomicU32,
    /// The host's code, 0 none. Written before the state.
    host: AtomicU32,
}

const IN_PROGRESS: u64 = 0;
/// Code of a key that a reversal named before its original came. Codes of reasons stay below it; 0 is an approval.
const REVERSED: u8 = 0xFF;
/// The answer is of a forwarded change: its record is an intent, or names one. Sequences stay far below it.
const FORWARDED: u64 = 1 << 63;

impl Index {
    /// Room for `cards` without growing.
    pub(crate) fn new(cards: usize, transactions_max: usize, ledger: Ledger) -> Self {
        Self {
            cards: HashMap::with_capacity_and_hasher(cards, BuildHasherDefault::default()),
            identities: [HashMap::new(), HashMap::new(), HashMap::new()],
            transactions: HashMap::with_capacity(TRANSACTIONS_AT_START.min(transactions_max)),
            transactions_max,
            cards_count: AtomicUsize::new(0),
            ledger,
        }
    }

    /// Finds a card.
    pub(crate) fn card(&self, key: CardKey<'_>) -> Option<Arc<CardRecord>> {
        match key {
            CardKey::Identity(kind, value) => {
                let identities = self.identities(kind).pin();
                let (hash, sequence) = *identities.get(value)?;
                self.card(CardKey::Pan(hash, Some(sequence)))
            }
            CardKey::Pan(hash, sequence) => {
                let cards = self.cards.pin();
                match (cards.get(&hash)?, sequence) {
                    (Slot::One(card), None) => Some(Arc::clone(card)),
                    (Slot::One(card), Some(sequence)) => {
                        (card.sequence == sequence).then(|| Arc::clone(card))
                    }
                    // The number alone does not say which card is meant.
                    (Slot::Many(_), None) => None,
                    (Slot::Many(all), Some(sequence)) => {
                        all.iter().find(|c| c.sequence == sequence).cloned()
                    }
                }
            }
        }
    }

    /// Which card an identity names.
    pub(crate) fn identity(&self, kind: IdentityKind, value: &str) -> Option<(PanHash, u16)> {
        self.identities(kind).pin().get(value).copied()
    }

    /// Puts a card in or in place of the one with its number and sequence.
    pub(crate) fn put(&self, card: Arc<CardRecord>) {
        let cards = self.cards.pin();
        let hash = card.pan_hash;
        let before = match cards.get(&hash) {
            None => None,
            Some(Slot::One(other)) if other.sequence == card.sequence => Some(Arc::clone(other)),
            Some(Slot::One(other)) => {
                self.put_identities(None, &card);
                self.cards_count.fetch_add(1, Ordering::Relaxed);
                cards.insert(hash, Slot::Many(Arc::new(vec![Arc::clone(other), card])));
                return;
            }
            Some(Slot::Many(all)) => {
                let mut all = Vec::clone(all);
                let at = all.iter().position(|c| c.sequence == card.sequence);
                self.put_identities(at.map(|at| &*all[at]), &card);
                if let Some(at) = at {
                    all[at] = card;
                } else {
                    all.push(card);
                    self.cards_count.fetch_add(1, Ordering::Relaxed);
                }
                cards.insert(hash, Slot::Many(Arc::new(all)));
                return;
            }
        };
        self.put_identities(before.as_deref(), &card);
        if before.is_none() {
            self.cards_count.fetch_add(1, Ordering::Relaxed);
        }
        cards.insert(hash, Slot::One(card));
    }

    fn put_identities(&self, before: Option<&CardRecord>, card: &CardRecord) {
        let old = before.and_then(|b| b.identities.as_deref());
        let new = card.identities.as_deref();
        if old == new {
            return;
        }
        for kind in KINDS {
            let old = old.and_then(|i| i.of(kind));
            let new = new.and_then(|i| i.of(kind));
            if old == new {
                continue;
            }
            let identities = self.identities(kind).pin();
            if let Some(old) = old {
                identities.remove(old);
            }
            if let Some(new) = new {
                identities.insert(new.into(), (card.pan_hash, card.sequence));
            }
        }
    }

    fn identities(&self, kind: IdentityKind) -> &HashMap<Box<str>, (PanHash, u16)> {
        match kind {
            IdentityKind::CardId => &self.identities[0],
            IdentityKind::PanToken => &self.identities[1],
            IdentityKind::PaymentInstrument => &self.identities[2],
        }
    }

    /// Claims a key, or says what became of it.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: TransactionKey,
        fingerprint: Fingerprint,
    ) -> Result<Seen<Claim>, StoreError> {
        let transactions = self.transactions.pin();
        if self.transactions_max <= transactions.len() {
            return match transactions.get(&key) {
                Some(known) => Ok(known.seen(fingerprint)),
                None => Err(StoreError::Full),
            };
        }
        let new = Transaction::answered(fingerprint, IN_PROGRESS, 0, 0);
        match transactions.try_insert(key, new) {
            Ok(_) => Ok(Seen::Fresh(Claim::new(key, Arc::clone(self)))),
            Err(occupied) => Ok(occupied.current.seen(fingerprint)),
        }
    }

    /// What became of a key.
    pub(crate) fn transaction(&self, key: TransactionKey) -> Option<Seen<()>> {
        let transactions = self.transactions.pin();
        let known = transactions.get(&key)?;
        Some(known.seen(known.fingerprint))
    }

    /// Whether the last PIN change of a card with this number is the one named.
    pub(crate) fn last_change_is(&self, hash: PanHash, change: TransactionKey) -> bool {
        let is = |card: &Arc<CardRecord>| card.undo.as_ref().is_some_and(|u| u.key == change);
        match self.cards.pin().get(&hash) {
            Some(Slot::One(card)) => is(card),
            Some(Slot::Many(all)) => all.iter().any(is),
            None => false,
        }
    }

    /// Takes the key of an original that a reversal did not find, so that it is refused when it comes late.
    pub(crate) fn refuse_late(&self, original: TransactionKey, at: WallMillis) -> Late {
        let transactions = self.transactions.pin();
        // Sequence 1 stands for "not durable yet": `answer` finds the key taken and leaves it as it is.
        let refused =
            Transaction::answered(Fingerprint(0), 1 << 8 | u64::from(REVERSED), minute(at), 0);
        match transactions.try_insert(original, refused) {
            Ok(_) => Late::Refused,
            Err(known) => match known.current.seen::<()>(known.current.fingerprint) {
                Seen::InProgress | Seen::Fresh(()) => Late::InProgress,
                Seen::Answered(_) => Late::Answered,
                Seen::Duplicate => Late::Refused,
            },
        }
    }

    /// Frees a key that is not answered.
    pub(crate) fn free(&self, key: TransactionKey) {
        self.transactions.pin().remove(&key);
    }

    /// Keeps the answer of one durable entry, and what it says about an original that never came. `forwarded` when
    /// the record is an intent or its outcome.
    pub(crate) fn answer(&self, sequence: u64, entry: &Entry, forwarded: bool) {
        let transactions = self.transactions.pin();
        let minute = minute(entry.at);
        let code = entry.declined.map_or(0, |declined| declined.reason.code());
        let forwarded = if forwarded { FORWARDED } else { 0 };
        let state = sequence << 8 | u64::from(code) | forwarded;
        let host = entry.declined.and_then(|declined| declined.host);
        let host = host.map_or(0, |host| u32::from_le_bytes(host.bytes()));
        if let Some(claimed) = transactions.get(&entry.key) {
            claimed.answer(state, minute, host);
        } else {
            let answered = Transaction::answered(entry.fingerprint, state, minute, host);
            transactions.insert(entry.key, answered);
        }
        if let Some(original) = entry.original {
            transactions.get_or_insert_with(original, || {
                let state = sequence << 8 | u64::from(REVERSED);
                Transaction::answered(Fingerprint(0), state, minute, 0)
            });
        }
    }

    /// The record of an answered key, if its change was forwarded: an intent, or an outcome that names one.
    pub(crate) fn forwarded(&self, key: TransactionKey) -> Option<u64> {
        let state = self.transactions.pin().get(&key)?.state.load(Ordering::Acquire);
        (state & FORWARDED != 0).then_some(sequence_of(state))
    }

    /// Whether a host may have done the change of an answered key.
    pub(crate) fn done_by_host(&self, key: TransactionKey) -> bool {
        let approved_or_unknown = matches!(
            self.transaction(key).as_ref(),
            Some(Seen::Answered(outcome))
                if outcome.reason().is_none_or(|reason| reason == Reason::OutcomeUnknown)
        );
        approved_or_unknown && self.forwarded(key).is_some()
    }

    /// Forgets keys answered before `wall`. Keys in progress stay, and keys of open changes: a repeat of such a
    /// change must not be sent anew.
    pub(crate) fn expire(&self, wall: WallMillis) {
        let before = minute(wall);
        let transactions = self.transactions.pin();
        transactions.retain(|key, known| {
            let state = known.state.load(Ordering::Acquire);
            state == IN_PROGRESS
                || before <= known.minute.load(Ordering::Relaxed)
                || self.ledger.is_open(*key)
        });
        self.ledger.expire(|key| transactions.contains_key(&key));
    }

    /// Visits every answered key, and whether its change was forwarded.
    pub(super) fn each_known(&self, mut visit: impl FnMut(Known, bool)) {
        for (key, known) in &self.transactions.pin() {
            let state = known.state.load(Ordering::Acquire);
            if state == IN_PROGRESS {
                continue;
            }
            let answer = match state.to_le_bytes()[0] {
                REVERSED => Answer::Refused,
                code => moving::answer(code, known.host.load(Ordering::Relaxed).to_le_bytes()),
            };
            let row = Known {
                key: *key,
                fingerprint: known.fingerprint,
                answer,
                at: WallMillis(u64::from(known.minute.load(Ordering::Relaxed)) * 60_000),
                position: sequence_of(state),
                forwarded: None,
            };
            visit(row, state & FORWARDED != 0);
        }
    }

    pub(crate) fn cards_count(&self) -> usize {
        self.cards_count.load(Ordering::Relaxed)
    }

    pub(crate) fn transactions_count(&self) -> usize {
        self.transactions.len()
    }

    /// Visits every card, in no order.
    pub(crate) fn each_card(&self, mut visit: impl FnMut(&Arc<CardRecord>)) {
        for slot in self.cards.pin().values() {
            match slot {
                Slot::One(card) => visit(card),
                Slot::Many(all) => all.iter().for_each(&mut visit),
            }
        }
    }
}

/// Identities that find a card.
pub(crate) const KINDS: [IdentityKind; 3] =
    [IdentityKind::CardId, IdentityKind::PanToken, IdentityKind::PaymentInstrument];

impl crate::card::record::Identities {
    /// The identity of one kind.
    pub(crate) fn of(&self, kind: IdentityKind) -> Option<&str> {
        match kind {
            IdentityKind::CardId => self.card_id.as_deref(),
            IdentityKind::PanToken => self.pan_token.as_deref(),
            IdentityKind::PaymentInstrument => self.payment_instrument.as_deref(),
        }
    }
}

impl Transaction {
    fn answered(fingerprint: Fingerprint, state: u64, minute: u32, host: u32) -> Self {
        Self {
            fingerprint,
            state: AtomicU64::new(state),
            minute: AtomicU32::new(minute),
            host: AtomicU32::new(host),
        }
    }

    fn answer(&self, state: u64, minute: u32, host: u32) {
        self.minute.store(minute, Ordering::Relaxed);
        self.host.store(host, Ordering::Relaxed);
        self.state.store(state, Ordering::Release);
    }

    fn seen<C>(&self, fingerprint: Fingerprint) -> Seen<C> {
        let state = self.state.load(Ordering::Acquire);
        let code = state.to_le_bytes()[0];
        if code == REVERSED || self.fingerprint != fingerprint {
            return Seen::Duplicate;
        }
        match (state, code) {
            (IN_PROGRESS, _) => Seen::InProgress,
            (_, 0) => Seen::Answered(Outcome::Approved(Receipt::mint(sequence_of(state)))),
            (_, code) => Seen::Answered(Outcome::Declined(Declined {
                reason: Reason::from_code(code).unwrap_or(Reason::SystemError),
                host: HostCode::from_bytes(self.host.load(Ordering::Relaxed).to_le_bytes()),
            })),
        }
    }
}

fn sequence_of(state: u64) -> u64 {
    (state & !FORWARDED) >> 8
}

fn minute(wall: WallMillis) -> u32 {
    u32::try_from(wall.0 / 60_000).unwrap_or(u32::MAX)
}

/// What became of an original that a reversal did not find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Late {
    /// It has an answer by now.
    Answered,
    /// It is being worked on.
    InProgress,
    /// It never came, and is refused from now on.
    Refused,
}

/// Takes the first eight bytes of a keyed hash as they are: nobody outside can choose them.
#[derive(Default)]
pub(crate) struct AlreadyHashed(u64);

impl Hasher for AlreadyHashed {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _length: usize) {}
}
