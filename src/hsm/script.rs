//! Issuer scripts as both families lay them out: PIN CHANGE/UNBLOCK (EMV Book 3, 6.5.10), and what its MAC covers.
//!
//! The MAC is over header, counter, cryptogram and encrypted part; counter and cryptogram are not sent. The new PIN
//! goes without the current one (P2 02). **Not built:** with it (P2 01), a MAC shorter than eight bytes, a MAC that
//! chains from the one before. **Never here:** a key, a clear PIN: `soft::script` and a device seal.

use sha1::{Digest, Sha1};

use crate::domain::chip::{
    Chip, SCRIPT_COMMAND_BYTES_MAX, ScriptCommand, ScriptRules, ScriptScheme,
};
use crate::domain::pan::{Account12, PAN_DIGITS_MAX};
use crate::domain::pin::PresentedPin;

/// Bytes of a command's header: class, instruction, two parameters, length.
pub const HEADER_BYTES: usize = 5;
/// Bytes of the MAC.
pub const MAC_BYTES: usize = 8;
/// Bytes that the MAC covers before the encrypted part: header, counter, cryptogram.
pub const PLAIN_BYTES: usize = HEADER_BYTES + 2 + 8;
/// Most bytes of the encrypted part.
pub const HIDDEN_BYTES_MAX: usize = 16;

/// Bytes of account and sequence number, two digits a byte.
const CARD_BYTES_MAX: usize = (PAN_DIGITS_MAX + 2).div_ceil(2);

const _: () = assert!(
    HEADER_BYTES + HIDDEN_BYTES_MAX + MAC_BYTES <= SCRIPT_COMMAND_BYTES_MAX,
    "every command fits"
);

/// A script to be sealed.
#[derive(Clone, Copy, Debug)]
pub struct Script<'a> {
    /// Scheme and keys.
    pub rules: &'a ScriptRules,
    /// What the chip says of its transaction.
    pub chip: &'a Chip,
    /// The card's number.
    pub account: &'a Account12,
    /// Its sequence number, 0 to 99.
    pub sequence: u8,
    /// The PIN that it shall have; without one its count of wrong PINs is taken back.
    pub pin: Option<&'a PresentedPin>,
}

impl Script<'_> {
    /// The command's header.
    #[must_use]
    pub fn header(&self) -> [u8; HEADER_BYTES] {
        let (p2, hidden) = match (self.pin, self.rules.scheme) {
            (None, _) => (0x00, 0x00),
            (Some(_), ScriptScheme::Mastercard) => (0x02, 0x08),
            (Some(_), ScriptScheme::EmvCommon | ScriptScheme::Visa { .. }) => (0x02, 0x10),
        };
        const { assert!(MAC_BYTES == 0x08, "part of the length below") };
        [0x84, 0x24, 0x00, p2, hidden + 0x08]
    }

    /// What the MAC covers before the encrypted part.
    #[must_use]
    pub fn plain(&self) -> [u8; PLAIN_BYTES] {
        let mut plain = [0; PLAIN_BYTES];
        let parts = self.header().into_iter().chain(self.chip.counter).chain(self.chip.cryptogram);
        plain.iter_mut().zip(parts).for_each(|(to, from)| *to = from);
        plain
    }

    /// What the card's keys are derived by: option A, or B for accounts of more than sixteen digits.
    #[must_use]
    pub fn card(&self) -> [u8; 8] {
        let pan = self.account.pan().expose_digits().iter().map(|digit| digit & 0x0F);
        let digits = pan.chain([self.sequence / 10 % 10, self.sequence % 10]);
        let count = self.account.pan().expose_digits().len() + 2;
        let mut packed = zeroize::Zeroizing::new([0; CARD_BYTES_MAX]);
        // A zero before them where they are odd.
        for (at, digit) in (count % 2..).zip(digits) {
            if let Some(byte) = packed.get_mut(at / 2) {
                *byte = *byte << 4 | digit;
            }
        }
        card_name(packed.get(..count.div_ceil(2)).unwrap_or_default())
    }

    /// The sealed command. `None` when the encrypted part is not as long as the header says.
    #[must_use]
    pub fn seal(&self, hidden: &[u8], mac: [u8; MAC_BYTES]) -> Option<ScriptCommand> {
        let header = self.header();
        let fits = usize::from(header[4]) == hidden.len() + MAC_BYTES;
        ScriptCommand::new([&header, hidden, &mac]).filter(|_| fits)
    }
}

/// Bytes of account and sequence number from which on the account has more than sixteen digits.
const LONG: usize = 10;

/// What a card's master keys are derived by: `account` is account and sequence number, two digits a byte, with a zero
/// before them where they are odd.
///
/// Option A, the last sixteen digits, for accounts of up to sixteen. Option B for longer ones, which have sixteen of
/// their own out of a hash: its decimal digits from the left, and where those are too few its letters as 0 to 5.
#[must_use]
pub fn card_name(account: &[u8]) -> [u8; 8] {
    let mut name = [0; 8];
    if account.len() < LONG {
        name.iter_mut().rev().zip(account.iter().rev()).for_each(|(to, from)| *to = *from);
        return name;
    }
    let hash = Sha1::digest(account);
    let nibbles = || hash.iter().flat_map(|byte| [byte >> 4, byte & 0x0F]);
    let decimals = nibbles().filter(|nibble| *nibble < 10);
    let letters = nibbles().filter(|nibble| 10 <= *nibble).map(|nibble| nibble - 10);
    for (n, digit) in decimals.chain(letters).take(16).enumerate() {
        name[n / 2] |= if n % 2 == 0 { digit << 4 } else { digit };
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::chip::ScriptTemplate;
    use crate::domain::pan::Pan;
    use crate::domain::pin::{KeyId, LmkPin};

    const CHIP: Chip = Chip {
        counter: [0x12, 0x34],
        cryptogram: [0xAB, 0xCD, 0xEF, 0x12, 0x34, 0x56, 0x78, 0x90],
        sequence: None,
    };

    #[track_caller]
    fn check(scheme: ScriptScheme, pin: bool, hidden: usize, header: &str) {
        let account = Pan::parse(b"1234567890123456").unwrap().account12();
        let new = PresentedPin::Lmk(LmkPin([0; 16]));
        let (integrity, confidentiality) = (KeyId(0), KeyId(1));
        let template = ScriptTemplate::AfterFinal;
        let rules = ScriptRules { scheme, integrity, confidentiality, template, required: false };
        let pin = pin.then_some(&new);
        let script = Script { rules: &rules, chip: &CHIP, account: &account, sequence: 1, pin };
        assert_eq!(hex::encode_upper(script.header()), header);
        assert_eq!(hex::encode_upper(script.plain()), format!("{header}1234ABCDEF1234567890"));
        let sealed = script.seal(&vec![0xEE; hidden], [0xDD; 8]).unwrap();
        let want = format!("{header}{}{}", "EE".repeat(hidden), "DD".repeat(8));
        assert_eq!(hex::encode_upper(sealed.as_bytes()), want);
        assert_eq!(script.seal(&vec![0xEE; hidden + 8], [0xDD; 8]), None);
    }

    /// EMV Book 3, 6.5.10: 8424, P1 00, P2 00 unblocks, P2 02 changes; `shared/domain/hsm.md` 5.6.
    #[test]
    fn commands_have_the_length_of_what_follows() {
        let visa = ScriptScheme::Visa { cryptograms: KeyId(2) };
        check(ScriptScheme::Mastercard, true, 8, "8424000210");
        check(ScriptScheme::EmvCommon, true, 16, "8424000218");
        check(visa, true, 16, "8424000218");
        for scheme in [ScriptScheme::Mastercard, ScriptScheme::EmvCommon, visa] {
            check(scheme, false, 0, "8424000008");
        }
    }

    /// EMV Book 2, A1.4.1; option B as pyemv 1.5.0 has it (`pin::emv`, `tests/vectors/emv.json`).
    #[test]
    fn cards_are_named_by_account_and_sequence_number() {
        let check = |pan: &[u8], sequence, want: &str| {
            let account = Pan::parse(pan).unwrap().account12();
            let rules = ScriptRules {
                scheme: ScriptScheme::Mastercard,
                integrity: KeyId(0),
                confidentiality: KeyId(0),
                template: ScriptTemplate::AfterFinal,
                required: false,
            };
            let script =
                Script { rules: &rules, chip: &CHIP, account: &account, sequence, pin: None };
            assert_eq!(hex::encode_upper(script.card()), want, "{sequence}");
        };
        check(b"1234567890123456", 1, "3456789012345601");
        check(b"1234567890123456", 42, "3456789012345642");
        check(b"123456789012345", 7, "2345678901234507");
        check(b"4000000000000", 0, "0400000000000000");
        // Seventeen digits and more: of a hash.
        let account = hex::decode("0123456789012345678999").unwrap();
        check(b"1234567890123456789", 99, &hex::encode_upper(card_name(&account)));
    }
}
