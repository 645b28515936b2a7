//! Keys that were opened before, so that a key of every command is decrypted and scheduled once.
//!
//! Bounded: when it is full it starts anew. A key under a variant LMK that has wrong parity under a type is kept as
//! that. **Never here:** how a key is opened (`key`).

use papaya::HashMap;

use crate::hsm::payshield::simulator::key::OpenKey;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::key::{KeyType, Scheme};
use crate::limits::SIM_KEYS_MAX;

/// Key type, letter and digits: the longest has 48.
type Name = [u8; 52];

/// Keys by how they stand in commands.
#[derive(Default)]
pub(super) struct Kept {
    variant: HashMap<Name, Option<OpenKey>>,
    blocks: HashMap<Box<[u8]>, OpenKey>,
}

impl Kept {
    /// A key under a variant LMK; `None` has wrong parity.
    pub(super) fn variant(
        &self,
        key_type: KeyType,
        scheme: Scheme,
        digits: &[u8],
        open: impl FnOnce() -> Result<Option<OpenKey>, ErrorCode>,
    ) -> Result<Option<OpenKey>, ErrorCode> {
        let mut name = [0; 52];
        name[..3].copy_from_slice(&key_type.0);
        name[3] = scheme.letter().unwrap_or(b'-');
        let Some(place) = name.get_mut(4..4 + digits.len()) else { return open() };
        place.copy_from_slice(digits);
        let known = self.variant.pin();
        if let Some(key) = known.get(&name) {
            return Ok(key.clone());
        }
        let key = open()?;
        if SIM_KEYS_MAX <= known.len() {
            known.clear();
        }
        known.insert(name, key.clone());
        Ok(key)
    }

    /// A key block that authenticates.
    pub(super) fn block(
        &self,
        block: &[u8],
        open: impl FnOnce() -> Result<OpenKey, ErrorCode>,
    ) -> Result<OpenKey, ErrorCode> {
        let known = self.blocks.pin();
        if let Some(key) = known.get(block) {
            return Ok(key.clone());
        }
        let key = open()?;
        if SIM_KEYS_MAX <= known.len() {
            known.clear();
        }
        known.insert(block.into(), key.clone());
        Ok(key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_opened_once_and_there_are_only_so_many() {
        let (kept, opened) = (Kept::default(), std::cell::Cell::new(0));
        let ask = |n: usize| {
            let digits = format!("{n:032X}");
            let key = kept.variant(KeyType::ZPK, Scheme::U, digits.as_bytes(), || {
                opened.set(opened.get() + 1);
                Ok(None)
            });
            assert!(key.is_ok_and(|key| key.is_none()));
        };
        ask(1);
        ask(1);
        assert_eq!(opened.get(), 1);
        (0..SIM_KEYS_MAX + 10).for_each(ask);
        assert!(kept.variant.pin().len() <= SIM_KEYS_MAX);
        // An error is no key.
        let failed = kept.block(b"1", || Err(ErrorCode::AUTHENTICATION));
        assert_eq!(failed.err(), Some(ErrorCode::AUTHENTICATION));
        assert!(kept.blocks.pin().is_empty());
    }
}
