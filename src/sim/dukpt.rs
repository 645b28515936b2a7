//! The PIN key of one transaction of a DUKPT terminal (ANSI X9.24-1), as the terminal's side knows it.
//!
//! The far end's own derivation, on purpose (see `pin_pad`): it goes down to the initial key by the lowest one bit of
//! the counter and comes back up, where the host's goes through the bits from the highest. `pinion send` and `pinion
//! load` make blocks under it. **Never here:** a key that protects anything, AES terminals.

use des::cipher::{BlockCipherEncrypt, KeyInit};
use des::{Des, TdesEde2};
use zeroize::Zeroizing;

/// Bytes of a key serial number.
pub const KSN_BYTES: usize = 10;

type Key = Zeroizing<[u8; 16]>;

const MASK: [u8; 16] = [0xC0, 0xC0, 0xC0, 0xC0, 0, 0, 0, 0, 0xC0, 0xC0, 0xC0, 0xC0, 0, 0, 0, 0];

/// The key of the PIN blocks of the transaction that `ksn` counts.
#[must_use]
pub fn pin_key(bdk: &[u8; 16], ksn: [u8; KSN_BYTES]) -> Key {
    let [.., high, middle, low] = ksn;
    let counter = u32::from_be_bytes([0, high & 0x1F, middle, low]);
    let mut name = ksn;
    name[7] &= 0xE0;
    name[8..].fill(0);
    let mut key = at(&initial(bdk, &name), &name, counter);
    // The PIN variant.
    key[7] ^= 0xFF;
    key[15] ^= 0xFF;
    key
}

/// Bits of the counter, and of the terminal's number before it.
const COUNTER_BITS: u32 = 21;
const TERMINAL_BITS: u32 = 19;
/// A counter with more one bits has no key: terminals pass it over.
const ONES_MAX: u32 = 10;

fn number(ksn: [u8; KSN_BYTES]) -> u128 {
    let mut bytes = [0; 16];
    bytes[16 - KSN_BYTES..].copy_from_slice(&ksn);
    u128::from_be_bytes(bytes)
}

const fn ksn_of(number: u128) -> [u8; KSN_BYTES] {
    let [_, _, _, _, _, _, ksn @ ..] = number.to_be_bytes();
    ksn
}

/// Serial numbers of a terminal in the order it counts, from `first` on.
pub fn serial_numbers(first: [u8; KSN_BYTES]) -> impl Iterator<Item = [u8; KSN_BYTES]> {
    let first = number(first);
    let counters = 1_u128 << COUNTER_BITS;
    let (name, counter) = (first & !(counters - 1), first & (counters - 1));
    let has_key = |counter: &u128| counter.count_ones() <= ONES_MAX;
    (counter.max(1)..counters).filter(has_key).map(move |counter| ksn_of(name | counter))
}

/// The serial number that the terminal `steps` numbers further on has where this one has `ksn`. `None` past the last.
#[must_use]
pub fn of_terminal(ksn: [u8; KSN_BYTES], steps: u16) -> Option<[u8; KSN_BYTES]> {
    let terminals = 1_u128 << TERMINAL_BITS;
    let terminal = number(ksn) >> COUNTER_BITS & (terminals - 1);
    let fits = terminal + u128::from(steps) < terminals;
    fits.then(|| ksn_of(number(ksn) + (u128::from(steps) << COUNTER_BITS)))
}

/// Two blocks of triple DES over the first eight bytes of the name: under the key, and under the masked key.
fn initial(bdk: &[u8; 16], name: &[u8; KSN_BYTES]) -> Key {
    let mut key = Key::default();
    for (half, by) in key.chunks_exact_mut(8).zip([&masked(bdk, &[0; 16]), &masked(bdk, &MASK)]) {
        half.copy_from_slice(&name[..8]);
        if let (Ok(half), cipher) = (half.try_into(), TdesEde2::new((&**by).into())) {
            cipher.encrypt_block(half);
        }
    }
    key
}

/// The key at a counter: one step from the key at the counter without its lowest one bit.
fn at(initial: &Key, name: &[u8; KSN_BYTES], counter: u32) -> Key {
    if counter == 0 {
        return initial.clone();
    }
    let before = at(initial, name, counter & (counter - 1));
    let mut register = [0; 8];
    register.copy_from_slice(&name[2..]);
    for (byte, more) in register.iter_mut().rev().zip(counter.to_le_bytes()) {
        *byte |= more;
    }
    let mut key = Key::default();
    let (left, right) = key.split_at_mut(8);
    left.copy_from_slice(&step(&masked(&before, &MASK), register));
    right.copy_from_slice(&step(&before, register));
    key
}

/// The right half over the register, encrypted under the left half, over the right half again.
fn step(key: &[u8; 16], register: [u8; 8]) -> [u8; 8] {
    let (left, right) = key.split_at(8);
    let mix = |block: [u8; 8]| std::array::from_fn(|n| block[n] ^ right.get(n).unwrap_or(&0));
    let mut block: [u8; 8] = mix(register);
    if let Ok(cipher) = Des::new_from_slice(left) {
        cipher.encrypt_block((&mut block).into());
    }
    mix(block)
}

fn masked(key: &[u8; 16], mask: &[u8; 16]) -> Key {
    Zeroizing::new(std::array::from_fn(|n| key[n] ^ mask[n]))
}

#[cfg(test)]
mod tests {
    use des::cipher::BlockCipherDecrypt;

    use super::*;

    /// ANSI X9.24-1: a terminal has 2^20 - 1 transactions; the counter of the last has its upper ten bits.
    #[test]
    fn a_terminal_counts_only_where_there_are_keys() {
        let ksn = |hex: &str| hex::decode(hex).unwrap().try_into().unwrap();
        let first = ksn("FFFF9876543210E00000");
        let shown = |ksn: [u8; KSN_BYTES]| hex::encode_upper(ksn);
        assert_eq!(serial_numbers(first).count(), 1_048_575);
        assert_eq!(shown(serial_numbers(first).next().unwrap()), "FFFF9876543210E00001");
        assert_eq!(shown(serial_numbers(first).last().unwrap()), "FFFF9876543210FFF800");
        let mut on = serial_numbers(ksn("FFFF9876543210E007FE"));
        assert_eq!(shown(on.next().unwrap()), "FFFF9876543210E007FE");
        assert_eq!(shown(on.next().unwrap()), "FFFF9876543210E00800");
        assert_eq!(of_terminal(first, 1).map(shown).unwrap(), "FFFF9876543211000000");
        assert_eq!(of_terminal(ksn("FFFF98FFFFFFFFE00000"), 1), None);
    }

    /// ANSI X9.24-1:2009, A.4, and a hundred random terminals that another program computed.
    #[test]
    fn tables_and_other_programs() {
        let bytes = |hex: &str| hex::decode(hex).unwrap();
        let bdk = bytes("0123456789ABCDEFFEDCBA9876543210").try_into().unwrap();
        for (counter, want) in [
            (1, "042666B49184CF5C68DE9628D0397B36"),
            (8, "27F66D5244FF621EAA6F6120EDEB427F"),
            (0x15, "E161D1956A61F62DF37AFD7F9CC36965"),
            (0xF_F800, "F9CDFEBF4F5B1D61B3EC12454527E189"),
        ] {
            let ksn = bytes(&format!("FFFF9876543210{:06X}", 0xE0_0000 | counter));
            let got = pin_key(&bdk, ksn.try_into().unwrap());
            assert_eq!(hex::encode_upper(*got), want, "{counter:X}");
        }
        let vectors = include_str!("../../tests/vectors/dukpt.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        for case in vectors["tdes"].as_array().unwrap() {
            let of = |name: &str| bytes(case[name].as_str().unwrap());
            let key = pin_key(&of("bdk").try_into().unwrap(), of("ksn").try_into().unwrap());
            let mut clear: [u8; 8] = of("block").try_into().unwrap();
            TdesEde2::new((&*key).into()).decrypt_block((&mut clear).into());
            // Control and length of format 0 are not under the account.
            let digits = case["pin"].as_str().unwrap().len();
            assert_eq!(usize::from(clear[0]), digits, "{case}");
        }
    }
}
