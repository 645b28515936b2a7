//! DUKPT with AES (ANSI X9.24-3): the key of one transaction from a base derivation key and a key serial number.
//!
//! Every key of a terminal has the length of its base derivation key, be it for derivation or for work. One working key
//! costs, beside the blocks for the initial key under the prepared base key, one key schedule and one block (two for 32
//! bytes) for each one bit of the counter, at most sixteen, and one of each for the working key itself. **Never here:**
//! DUKPT with triple DES (`dukpt`); which keys a terminal may use.

use zeroize::Zeroizing;

use crate::pin::aes::Aes;

/// One bits a counter may have. A terminal skips the others.
const ONE_BITS_MAX: u32 = 16;
/// Usage of the initial key.
const INITIAL: u16 = 0x8001;
/// Usage of a key that others are derived from.
const DERIVATION: u16 = 0x8000;

/// What a transaction's key is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// PIN blocks.
    Pin,
    /// MACs of requests: the terminal makes them.
    MacGeneration,
    /// MACs of responses: the terminal verifies them.
    MacVerification,
}

impl Purpose {
    const fn usage(self) -> u16 {
        match self {
            Self::Pin => 0x1000,
            Self::MacGeneration => 0x2000,
            Self::MacVerification => 0x2001,
        }
    }
}

/// A key serial number: the initial key's id (of the base derivation key, of the terminal), then the counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Serial {
    id: [u8; 8],
    counter: u32,
}

impl Serial {
    /// Takes its twelve bytes. `None` where no transaction can have that counter: zero, or too many one bits, which is
    /// where a terminal's keys end.
    #[must_use]
    pub fn new(ksn: &[u8; 12]) -> Option<Self> {
        let (id, counter) = ksn.split_first_chunk::<8>()?;
        let counter = u32::from_be_bytes(counter.try_into().ok()?);
        let used = counter != 0 && counter.count_ones() <= ONE_BITS_MAX;
        used.then_some(Self { id: *id, counter })
    }

    /// Right half of the id and a counter.
    fn context(self, counter: u32) -> [u8; 8] {
        let mut context = [0; 8];
        context[..4].copy_from_slice(&self.id[4..]);
        context[4..].copy_from_slice(&counter.to_be_bytes());
        context
    }
}

/// A key of 16 or 32 bytes. Wiped on drop.
pub struct Key {
    bytes: Zeroizing<[u8; 32]>,
    len: usize,
}

impl Key {
    /// The clear bytes. The long name is deliberate: reviewers grep for it.
    #[must_use]
    pub fn expose_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Ready for work.
    #[must_use]
    pub fn cipher(&self) -> Option<Aes> {
        Aes::new(self.expose_bytes())
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key({} bytes, ****)", self.len)
    }
}

/// A base derivation key with its schedule prepared. Wiped on drop.
#[derive(Debug)]
pub struct Base {
    cipher: Aes,
    len: usize,
}

impl Base {
    /// From 16 or 32 bytes; `None` for another number.
    #[must_use]
    pub fn new(bdk: &[u8]) -> Option<Self> {
        let usable = matches!(bdk.len(), 16 | 32);
        Aes::new(bdk).filter(|_| usable).map(|cipher| Self { cipher, len: bdk.len() })
    }

    /// The initial key of a terminal. The counter does not count.
    #[must_use]
    pub fn initial_key(&self, serial: Serial) -> Key {
        derive(&self.cipher, self.len, INITIAL, serial.id)
    }

    /// The key of one transaction, for one purpose. `None` never comes: the lengths are right.
    #[must_use]
    pub fn working_key(&self, serial: Serial, purpose: Purpose) -> Option<Key> {
        let mut key = self.initial_key(serial);
        let mut register = 0;
        for bit in (0..32).rev().map(|place| 1_u32 << place) {
            if serial.counter & bit != 0 {
                register |= bit;
                let context = serial.context(register);
                key = derive(&key.cipher()?, self.len, DERIVATION, context);
            }
        }
        let context = serial.context(serial.counter);
        Some(derive(&key.cipher()?, self.len, purpose.usage(), context))
    }
}

/// As many blocks of derivation data encrypted as the key is long: version, counter, usage, algorithm, bits, context.
fn derive(cipher: &Aes, len: usize, usage: u16, context: [u8; 8]) -> Key {
    let (algorithm, bits) = if len == 16 { (2, [0, 128]) } else { (4, [1, 0]) };
    let [high, low] = usage.to_be_bytes();
    let mut key = Key { bytes: Zeroizing::default(), len };
    for (counter, half) in (1..).zip(key.bytes[..len].as_chunks_mut::<16>().0) {
        half[..8].copy_from_slice(&[1, counter, high, low, 0, algorithm, bits[0], bits[1]]);
        half[8..].copy_from_slice(&context);
        cipher.encrypt(half);
    }
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(hex: &str) -> Vec<u8> {
        hex::decode(hex).unwrap()
    }

    fn serial(counter: u32) -> Serial {
        let ksn = [bytes("1234567890123456"), counter.to_be_bytes().to_vec()].concat();
        Serial::new(&ksn.try_into().unwrap()).unwrap()
    }

    const BDK: &str = "FEDCBA9876543210F1F1F1F1F1F1F1F1";

    /// ANSI X9.24-3, B: sample keys of AES-128; openemv/dukpt has them, too.
    #[test]
    fn tables_of_the_standard() {
        let base = Base::new(&bytes(BDK)).unwrap();
        let shown = |key: &Key| hex::encode_upper(key.expose_bytes());
        assert_eq!(shown(&base.initial_key(serial(1))), "1273671EA26AC29AFA4D1084127652A1");
        for (counter, want) in [
            (1, "AF8CB133A78F8DC2D1359F18527593FB"),
            (2, "D30BDC73EC9714B000BEC66BDB7B6D09"),
            (3, "7D69F01F3B45449F62C7816ECE723268"),
            (0x1_FFFE, "DDF7E08A84B5478C498D007C743BF762"),
            (0x2_0000, "AB828BE7B58C7EC5D5ED0D5D320A0C9D"),
        ] {
            let key = base.working_key(serial(counter), Purpose::Pin).unwrap();
            assert_eq!(shown(&key), want, "{counter:X}");
        }
        let mac = base.working_key(serial(1), Purpose::MacGeneration).unwrap();
        assert_eq!(shown(&mac), "A2DC23DE6FDE0824A2BC321E08E4B8B7");
        let base = Base::new(&bytes(&BDK.repeat(2))).unwrap();
        let initial = "CE9CE0C101D1138F97FB6CAD4DF045A7083D4EAE2D35A31789D01CCF0949550F";
        assert_eq!(shown(&base.initial_key(serial(1))), initial);
        let key = base.working_key(serial(1), Purpose::Pin).unwrap();
        let want = "8C1AB7BEE973829E30242E0BBBDD4946D540C98FC1B5BDCF94790001A23FD502";
        assert_eq!(shown(&key), want);
        assert_eq!(format!("{key:?}"), "Key(32 bytes, ****)");
    }

    #[test]
    fn counters_that_no_transaction_has() {
        let of = |counter: u32| {
            let mut ksn = [1; 12];
            ksn[8..].copy_from_slice(&counter.to_be_bytes());
            Serial::new(&ksn).is_some()
        };
        assert!(of(1) && of(0xFFFF) && of(0xFFFF_0000) && of(0x8000_7FFF));
        assert!(!of(0) && !of(0x1_FFFF) && !of(0xFFFF_0001) && !of(0xFFFF_FFFF));
        assert!(Base::new(&[0; 24]).is_none() && Base::new(&[0; 8]).is_none());
    }
}
