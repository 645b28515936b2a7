//! EMV issuer scripts: the keys of a card and of a session, and PIN blocks that only a card reads.
//!
//! Master keys are issuers'; a card's are derived from them by account and sequence number (EMV Book 2, A1.4), a
//! session's from those by what the transaction brought. **Never here:** what a card is named by, options A and B
//! (`hsm::script`); how a script is encrypted and sealed (`hsm::soft::script`, `hsm::payshield::simulator`).

use zeroize::Zeroizing;

use crate::domain::pan::Account12;
use crate::pin::block::{Block8, FILL_0, lay_out};
use crate::pin::clear::ClearPin;
use crate::pin::dukpt::Key16;
use crate::pin::pack_account;
use crate::pin::tdes::Tdes;

/// Control value of formats 34 and 35.
const CONTROL_2: u64 = 2;
/// Control value of formats 41 and 42.
const CONTROL_0: u64 = 0;

/// Odd parity in every byte.
fn with_parity(mut key: Key16) -> Key16 {
    key.iter_mut().filter(|byte| byte.count_ones() % 2 == 0).for_each(|byte| *byte ^= 1);
    key
}

/// Two blocks under one key, side by side.
fn both(cipher: &Tdes, blocks: [[u8; 8]; 2]) -> Key16 {
    let mut key = Key16::default();
    for (half, mut block) in key.chunks_exact_mut(8).zip(blocks) {
        cipher.encrypt(&mut block);
        half.copy_from_slice(&block);
    }
    key
}

/// A card's key below an issuer's master key: `card` is what it is derived by (`hsm::script`).
#[must_use]
pub fn card_key(master: &Tdes, card: [u8; 8]) -> Key16 {
    with_parity(both(master, [card, card.map(|byte| !byte)]))
}

/// The common session key (EMV Book 2, A1.3.1), also Mastercard's: `by` is the ARQC, or the random number.
#[must_use]
pub fn session_common(card: &Key16, by: [u8; 8]) -> Key16 {
    let third = |value| {
        let mut block = by;
        block[2] = value;
        block
    };
    with_parity(both(&Tdes::double(card), [third(0xF0), third(0x0F)]))
}

/// Visa's session key of scripts: the counter in the left half, its complement in the right one.
#[must_use]
pub fn session_visa(card: &Key16, counter: [u8; 2]) -> Key16 {
    let counter = u128::from(u16::from_be_bytes(counter));
    let mask = counter << 64 | (counter ^ 0xFFFF);
    with_parity(Zeroizing::new((u128::from_be_bytes(**card) ^ mask).to_be_bytes()))
}

/// Shapes of the tree of session keys of EMV 2000: both have a leaf for every counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tree {
    /// Two branches, sixteen levels.
    Two,
    /// Four branches, eight levels.
    Four,
}

impl Tree {
    /// Bits of the counter that choose a branch.
    const fn bits(self) -> u32 {
        match self {
            Self::Two => 1,
            Self::Four => 2,
        }
    }
}

/// The session key of EMV 2000 (EMV 4.1 Book 2, A1.3): down the tree by the counter, from an initial value of zeros.
#[must_use]
pub fn session_tree(card: &Key16, tree: Tree, counter: [u8; 2]) -> Key16 {
    let counter = u16::from_be_bytes(counter);
    let (mut parent, mut grandparent) = (card.clone(), Key16::default());
    for level in (0..16 / tree.bits()).rev() {
        let branch = counter >> (level * tree.bits()) & ((1 << tree.bits()) - 1);
        let mask = u128::from(branch) << 64 | (u128::from(branch) ^ 0xF0);
        let block = Zeroizing::new((u128::from_be_bytes(*grandparent) ^ mask).to_be_bytes());
        let halves = block.as_chunks().0.first_chunk().copied().unwrap_or_default();
        let child = both(&Tdes::double(&parent), halves);
        if level == 0 {
            let leaf = u128::from_be_bytes(*child) ^ u128::from_be_bytes(*grandparent);
            return with_parity(Zeroizing::new(leaf.to_be_bytes()));
        }
        grandparent = std::mem::replace(&mut parent, child);
    }
    parent
}

/// Format 34: `2`, length, PIN, fill `F`.
#[must_use]
pub fn encode_34(pin: &ClearPin) -> Block8 {
    Zeroizing::new(lay_out(CONTROL_2, pin, FILL_0).to_be_bytes())
}

/// Format 35: as 34, exclusive-or the account.
#[must_use]
pub fn encode_35(pin: &ClearPin, account: &Account12) -> Block8 {
    Zeroizing::new((lay_out(CONTROL_2, pin, FILL_0) ^ pack_account(account)).to_be_bytes())
}

/// Format 41: `0`, length, PIN, fill `F`; exclusive-or the end of the left half of the card's key of cryptograms.
#[must_use]
pub fn encode_41(pin: &ClearPin, card: &Key16) -> Block8 {
    let left = u64::from_be_bytes(card.first_chunk().copied().unwrap_or_default());
    Zeroizing::new((lay_out(CONTROL_0, pin, FILL_0) ^ left & 0xFFFF_FFFF).to_be_bytes())
}

/// Format 42: as 41, exclusive-or the current PIN from the left.
#[must_use]
pub fn encode_42(pin: &ClearPin, current: &ClearPin, card: &Key16) -> Block8 {
    let block = u64::from_be_bytes(*encode_41(pin, card));
    Zeroizing::new((block ^ current.expose_packed() << 8).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(hex: &str) -> Key16 {
        Zeroizing::new(hex::decode(hex).unwrap().try_into().unwrap())
    }

    fn pin(digits: &str) -> ClearPin {
        ClearPin::from_ascii(digits.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(got: &[u8], want: &str) {
        assert_eq!(hex::encode_upper(got), want);
    }

    /// Made by pyemv 1.5.0.
    const TREES: &[(Tree, [u8; 2], &str)] = &[
        (Tree::Two, [0x00, 0x00], "A88352F152BFAD46F4EA1A9D13E9CBB0"),
        (Tree::Two, [0x00, 0x01], "9DB9940B2CF1D5EFD925266D859DCDCD"),
        (Tree::Two, [0x00, 0x1C], "5BD69B2676F464F4B3D3D549C1737C61"),
        (Tree::Two, [0x12, 0x34], "F43E58C79D4CE0DA7F970DDFA43ECE68"),
        (Tree::Two, [0xFF, 0xFF], "CB15F72A5798B9F7AE9E92C2C2A87ACB"),
        (Tree::Four, [0x00, 0x00], "5DEACDA173081562C7F15D2C1C46FD5E"),
        (Tree::Four, [0x00, 0x01], "763DD643437CCED5BA46C22CFBD54085"),
        (Tree::Four, [0x00, 0x1C], "E5BF6D1067F194B0A89B7F5D83BC64A2"),
        (Tree::Four, [0x12, 0x34], "F86D23E3CB0E207361A107869446B9EA"),
        (Tree::Four, [0xFF, 0xFF], "C70815AB641575C1AEDF86A4D61FD0B3"),
    ];

    /// The same of the Python package pyemv, examples of its documentation where it has them.
    #[test]
    fn session_keys_as_pyemv_makes_them() {
        let card = key("0123456789ABCDEFFEDCBA9876543210");
        check(
            &*session_common(&card, [0, 0x1C, 0, 0, 0, 0, 0, 0]),
            "E9FB384AF807B940FEDCEA613461B0C4",
        );
        check(&*session_visa(&card, [0, 0x1C]), "0123456789ABCDF2FEDCBA987654CDF2");
        for (tree, counter, want) in TREES {
            check(&*session_tree(&card, *tree, *counter), want);
        }
    }

    /// The left halves of the card keys are in the blocks.
    #[test]
    fn blocks_only_a_card_reads() {
        let card = [0x34, 0x56, 0x78, 0x90, 0x12, 0x34, 0x56, 0x01];
        let master = Tdes::double(&key("FEDCBA98765432100123456789ABCDEF"));
        let ac = card_key(&master, card);
        check(&*encode_34(&pin("9999")), "249999FFFFFFFFFF");
        check(&*encode_34(&pin("999999999999")), "2C999999999999FF");
        check(&*encode_41(&pin("9999"), &ac), "049999FFC4B001F1");
        check(&*encode_42(&pin("9999"), &pin("8888"), &ac), "8C1199FFC4B001F1");
        check(&*encode_42(&pin("999999999999"), &pin("888888888888"), &ac), "841111112A5E67F1");
        // The example of the payShield manual.
        let account = crate::domain::pan::Pan::parse(b"4000001234562").unwrap().account12();
        check(&*encode_35(&pin("34567"), &account), "2534167FFFEDCBA9");
    }
}
