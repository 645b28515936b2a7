//! Zone keys of the simulated Postilion: opening PIN blocks, and handing out new keys under the zone master key.
//!
//! The far end's own arithmetic, apart from `pin` and `hsm`. Every key here is a test key, every PIN a test card's.
//! **Never here:** whether a PIN is right (`book`), when a key is exchanged (`exchange`).

use std::fmt;

use des::TdesEde3;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit as _};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, Zeroizing};

use crate::domain::pan::Pan;
use crate::limits::SIM_ZONE_KEYS_MAX;
use crate::sim::postilion::word::Word;

/// Bytes of a double-length key.
pub(super) const KEY_BYTES: usize = 16;

/// A PIN as a block of format 0 can hold it: 1 to 14 digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Pin(Word<14>);

impl Pin {
    /// Takes ASCII digits, 1 to 14 of them.
    pub(super) fn new(ascii: &[u8]) -> Option<Self> {
        let digits = !ascii.is_empty() && ascii.iter().all(u8::is_ascii_digit);
        Word::new(ascii).filter(|_| digits).map(Self)
    }

    /// The clear digits. The long name is deliberate: reviewers grep for it.
    #[cfg(test)]
    pub(super) fn expose_digits(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it may be a PIN at all: 4 to 12 digits (ISO 9564-1, 8.1).
    pub(super) fn has_a_pins_length(&self) -> bool {
        (4..=12).contains(&self.0.as_bytes().len())
    }
}

/// A key between two parties: clear bytes and their schedule.
pub(super) struct ZoneKey {
    clear: Zeroizing<[u8; KEY_BYTES]>,
    cipher: TdesEde3,
}

impl ZoneKey {
    /// Loads a clear key of 16 bytes.
    pub(super) fn new(clear: &[u8]) -> Option<Self> {
        let clear = Zeroizing::new(<[u8; KEY_BYTES]>::try_from(clear).ok()?);
        let mut triple = Zeroizing::new([0; 24]);
        triple[..16].copy_from_slice(&*clear);
        triple[16..].copy_from_slice(&clear[..8]);
        let cipher = TdesEde3::new_from_slice(&*triple).ok()?;
        Some(Self { clear, cipher })
    }

    /// Makes a key of random bytes by setting each byte's lowest bit to odd parity.
    pub(super) fn from_random(mut random: [u8; KEY_BYTES]) -> Option<Self> {
        for byte in &mut random {
            let ones = (*byte >> 1).count_ones();
            *byte = (*byte & 0xFE) | u8::from(ones.is_multiple_of(2));
        }
        let key = Self::new(&random);
        random.zeroize();
        key
    }

    /// The clear bytes. The long name is deliberate: reviewers grep for it.
    pub(super) fn expose_bytes(&self) -> &[u8; KEY_BYTES] {
        &self.clear
    }

    /// The first three bytes of zeros encrypted.
    pub(super) fn check_value(&self) -> [u8; 3] {
        let mut zeros = [0; 8];
        self.cipher.encrypt_block((&mut zeros).into());
        [zeros[0], zeros[1], zeros[2]]
    }

    /// `key` under this one, triple DES in ECB mode.
    pub(super) fn wrap(&self, key: &Self) -> [u8; KEY_BYTES] {
        let mut wrapped = *key.clear;
        let (left, right) = wrapped.split_at_mut(8);
        for half in [left, right] {
            if let Ok(half) = <&mut [u8; 8]>::try_from(half) {
                self.cipher.encrypt_block(half.into());
            }
        }
        wrapped
    }

    /// The PIN in a block of ISO 9564-1 format 0 that is bound to `pan`; `None` when it holds none.
    pub(super) fn open(&self, block: [u8; 8], pan: &Pan) -> Option<Pin> {
        let mut clear = Zeroizing::new(block);
        self.cipher.decrypt_block((&mut *clear).into());
        let account = pan.account12();
        for (byte, pair) in clear[2..].iter_mut().zip(account.expose_digits().chunks(2)) {
            *byte ^= (pair[0] << 4) | (pair[1] & 0x0F);
        }
        let nibble = |at: usize| {
            if at.is_multiple_of(2) { clear[at / 2] >> 4 } else { clear[at / 2] & 0x0F }
        };
        let len = usize::from(nibble(1));
        if nibble(0) != 0 || !(1..=14).contains(&len) {
            return None;
        }
        let mut digits = Zeroizing::new([0; 14]);
        for (at, digit) in digits.iter_mut().enumerate() {
            let value = nibble(at + 2);
            if len <= at {
                if value != 0x0F {
                    return None;
                }
                continue;
            }
            *digit = b'0' + value;
        }
        Pin::new(&digits[..len])
    }
}

impl fmt::Debug for ZoneKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ZoneKey(****)")
    }
}

/// What a good block tells of its key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uses {
    /// Changes whose blocks were under the newest key.
    pub(super) newest: u64,
    /// Changes whose blocks were under an older one.
    pub(super) older: u64,
}

/// The zone keys in force, oldest first. All nodes share them.
#[derive(Debug)]
pub(super) struct KeyRing {
    keys: Vec<ZoneKey>,
    uses: Uses,
    retired: u64,
}

impl KeyRing {
    pub(super) fn new(first: ZoneKey) -> Self {
        Self { keys: vec![first], uses: Uses::default(), retired: 0 }
    }

    /// Takes a new key in force beside the older ones. Past the bound the oldest goes.
    pub(super) fn add(&mut self, key: ZoneKey) {
        self.keys.push(key);
        if SIM_ZONE_KEYS_MAX < self.keys.len() {
            self.keys.remove(0);
            self.retired += 1;
        }
    }

    /// Both PINs, and how many keys are older than the one that opened them. The newest key is tried first.
    pub(super) fn open(&self, blocks: [[u8; 8]; 2], pan: &Pan) -> Option<([Pin; 2], usize)> {
        let [current, new] = blocks;
        self.keys
            .iter()
            .enumerate()
            .rev()
            .find_map(|(older, key)| Some(([key.open(current, pan)?, key.open(new, pan)?], older)))
    }

    /// Counts a good use of the key with so many older ones. Returns whether these must go now: see [`Self::retire`].
    pub(super) fn used(&mut self, older: usize) -> bool {
        if older + 1 == self.keys.len() {
            self.uses.newest += 1;
        } else {
            self.uses.older += 1;
        }
        0 < older
    }

    /// Drops the oldest keys: a newer one has been used.
    pub(super) fn retire(&mut self, older: usize) {
        let older = older.min(self.keys.len() - 1);
        self.keys.drain(..older);
        self.retired += u64::try_from(older).unwrap_or(0);
    }

    /// Check values, oldest key first.
    pub(super) fn check_values(&self) -> impl Iterator<Item = [u8; 3]> {
        self.keys.iter().map(ZoneKey::check_value)
    }

    /// How often each was used, and how many keys are gone.
    pub(super) fn counts(&self) -> (Uses, u64) {
        (self.uses, self.retired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::world::World;

    const PAN: &str = "5060990000000151002";

    fn eight(hex_digits: &str) -> [u8; 8] {
        hex::decode(hex_digits).unwrap().try_into().unwrap()
    }

    fn world_key(name: &str) -> ZoneKey {
        ZoneKey::new(World::embedded().unwrap().clear_key(name).unwrap()).unwrap()
    }

    /// Blocks made by psec for the Verve card under `zpk.postilion`; the last four by its cipher from a clear block.
    #[test]
    fn blocks_as_another_implementation_makes_them() {
        let key = world_key("zpk.postilion");
        let pan = Pan::parse(PAN.as_bytes()).unwrap();
        for (block, want) in [
            ("D2EC1630723AE273", Some("1111")),
            ("B0EB0452876F95BD", Some("2222")),
            ("2968B2EBBE3EDAC5", Some("3333")),
            ("57A773A629D9C912", Some("123456789012")),
            ("F1226F64869CAF81", Some("123")),
            ("BB52BDF103D5F670", Some("1234567890123")),
            // Format 1, and no block at all.
            ("DAE97996C94D4388", None),
            ("0000000000000000", None),
        ] {
            let got = key.open(eight(block), &pan);
            assert_eq!(got.as_ref().map(Pin::expose_digits), want, "{block}");
        }
        let other = Pan::parse(b"5060990000000151010").unwrap();
        let got = key.open(eight("D2EC1630723AE273"), &other);
        assert_ne!(got.as_ref().map(Pin::expose_digits), Some("1111"), "bound to its PAN");
    }

    /// Check values are those of world.json; the wrapped key was computed with psec.
    #[test]
    fn keys_as_another_implementation_has_them() {
        let world = World::embedded().unwrap();
        for name in ["zpk.postilion", "zmk.partner"] {
            let got = hex::encode_upper(world_key(name).check_value());
            assert_eq!(got, world.keys[name].kcv, "{name}");
        }
        let key = ZoneKey::new(&hex::decode("E0DCC8B3A1918676F2CE7A5B3D1F0E43").unwrap()).unwrap();
        assert_eq!(hex::encode_upper(key.check_value()), "BE1789");
        let wrapped = world_key("zmk.partner").wrap(&key);
        assert_eq!(hex::encode_upper(wrapped), "499D9EC521977731EFB153378BA4DB11");
    }

    #[test]
    fn new_keys_have_odd_parity() {
        let random = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        let key = ZoneKey::from_random(random).unwrap();
        for (byte, from) in key.expose_bytes().iter().zip(random) {
            assert_eq!(byte.count_ones() % 2, 1);
            assert_eq!(byte & 0xFE, from & 0xFE);
        }
    }
}
