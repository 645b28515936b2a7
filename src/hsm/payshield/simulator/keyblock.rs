//! Thales key blocks under the TDES and the AES test LMK, or under a TDES ZMK.
//!
//! Version 0: the key that encrypts is the LMK exclusive-or `45`, the one that authenticates exclusive-or `4D`; CBC
//! from the first eight characters of the header, CBC-MAC over header and ciphertext. Version 1: both are derived as
//! for TR-31 version D; CBC from the header, CMAC over header and ciphertext. Verified against blocks of devices.
//! **Never here:** which usages a command accepts (`key`).

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::hsm::key::Algorithm;
use crate::hsm::modes;
use crate::hsm::payshield::simulator::mac::Cipher;
use crate::hsm::payshield::wire::ErrorCode;
use crate::hsm::payshield::wire::key::BLOCK_HEADER;

/// Version 0: TDES.
pub(super) const VERSION_TDES: u8 = b'0';
/// Version 1: AES.
pub(super) const VERSION_AES: u8 = b'1';

/// The two keys of a key that protects blocks.
pub(super) struct Protection {
    version: u8,
    encrypt: Cipher,
    authenticate: Zeroizing<Vec<u8>>,
}

impl Protection {
    /// Version 0 under 16 or 24 bytes.
    pub(super) fn tdes(key: &[u8]) -> Option<Self> {
        if ![16, 24].contains(&key.len()) {
            return None;
        }
        let with = |mask: u8| Zeroizing::new(key.iter().map(|b| b ^ mask).collect::<Vec<_>>());
        let encrypt = Cipher::des(&with(0x45))?;
        Some(Self { version: VERSION_TDES, encrypt, authenticate: with(0x4D) })
    }

    /// Version 1 under 16, 24 or 32 bytes.
    pub(super) fn aes(key: &[u8]) -> Option<Self> {
        let derive = |usage| modes::derive(Algorithm::Aes, key, usage);
        let encrypt = Cipher::aes(&derive(0)?)?;
        Some(Self { version: VERSION_AES, encrypt, authenticate: derive(1)? })
    }

    const fn mac_bytes(&self) -> usize {
        if self.version == VERSION_AES { 8 } else { 4 }
    }

    /// Nothing under a key of a length that there is not, which no block has.
    fn mac(&self, header: &[u8], sealed: &[u8]) -> Zeroizing<Vec<u8>> {
        let message = [header, sealed].concat();
        let mac = match self.version {
            VERSION_AES => modes::cmac(Algorithm::Aes, &self.authenticate, &message),
            _ => modes::cbc_mac(Algorithm::Tdes, &self.authenticate, &message),
        };
        let mut mac = mac.unwrap_or_default();
        mac.truncate(self.mac_bytes());
        mac
    }

    fn iv<'h>(&self, header: &'h [u8]) -> &'h [u8] {
        header.get(..self.encrypt.block_bytes()).unwrap_or_default()
    }

    /// The key in a block, without its `S`.
    ///
    /// # Errors
    /// A1 for the block of another kind of LMK, A4 where it does not authenticate, A5 for a wrong length.
    pub(super) fn open(&self, block: &[u8]) -> Result<Zeroizing<Vec<u8>>, ErrorCode> {
        if block.first() != Some(&self.version) {
            return Err(ErrorCode::LMK_SCHEME);
        }
        let (header, rest) = block.split_at_checked(BLOCK_HEADER).ok_or(ErrorCode::BLOCK_LENGTH)?;
        if header.get(12..14) != Some(b"00") {
            // Optional blocks: none of a public description is known.
            return Err(ErrorCode(*b"AB"));
        }
        let rest = hex::decode(rest).map_err(|_| ErrorCode::KEY_BLOCK)?;
        let end = rest.len().checked_sub(self.mac_bytes()).ok_or(ErrorCode::BLOCK_LENGTH)?;
        let (sealed, mac) = rest.split_at(end);
        if !bool::from(self.mac(header, sealed).ct_eq(mac)) {
            return Err(ErrorCode::AUTHENTICATION);
        }
        let size = self.encrypt.block_bytes();
        if sealed.is_empty() || !sealed.len().is_multiple_of(size) {
            return Err(ErrorCode::BLOCK_LENGTH);
        }
        let mut clear = Zeroizing::new(sealed.to_vec());
        self.encrypt.decrypt_cbc(self.iv(header), &mut clear);
        let bits = clear.first_chunk().map_or(0, |bits: &[u8; 2]| u16::from_be_bytes(*bits));
        let key = clear.get(2..2 + usize::from(bits / 8)).ok_or(ErrorCode::BLOCK_LENGTH)?;
        Ok(Zeroizing::new(key.to_vec()))
    }

    /// A block with this header, whose version and length are written over. `fill` pads the key.
    pub(super) fn seal(&self, header: [u8; BLOCK_HEADER], key: &[u8], fill: &[u8]) -> Vec<u8> {
        let size = self.encrypt.block_bytes();
        let bits = u16::try_from(key.len() * 8).unwrap_or(0).to_be_bytes();
        let mut clear = Zeroizing::new([&bits[..], key].concat());
        let missing = clear.len().next_multiple_of(size) - clear.len();
        clear.extend(fill.iter().cycle().take(missing));
        let length = BLOCK_HEADER + 2 * (clear.len() + self.mac_bytes());
        let mut header = header;
        header[0] = self.version;
        header[1..5].copy_from_slice(&digits(length));
        self.encrypt.encrypt_cbc(self.iv(&header), &mut clear);
        let mac = self.mac(&header, &clear);
        let mut block = header.to_vec();
        block.extend(hex::encode_upper(&*clear).bytes().chain(hex::encode_upper(&*mac).bytes()));
        block
    }
}

/// Four decimal digits.
fn digits(number: usize) -> [u8; 4] {
    [1000, 100, 10, 1].map(|unit| b'0' + u8::try_from(number / unit % 10).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hsm::payshield::simulator::lmk;

    #[track_caller]
    fn check(protection: &Protection, block: &str, want: Result<&str, ErrorCode>) {
        let got = protection.open(block.as_bytes()).map(|key| hex::encode_upper(&*key));
        assert_eq!(got, want.map(str::to_owned), "{block}");
    }

    /// Blocks of a device with the TDES test LMK.
    #[test]
    fn blocks_under_tdes() {
        let lmk = Protection::tdes(&lmk::TDES_BLOCK).unwrap();
        for (block, key) in [
            (
                "00072P0TB00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9",
                "98519E45CBB9291F49EFAD4AFEFDDC79",
            ),
            (
                "00072K0TB00E00019A75CB10B9C1359CFA732D39217C3667207E279FC9E845F64FEEE9F0",
                "0D32F132F8FD987051C4B52329914045",
            ),
            (
                "00072P0TB00E0001286A5156C05A48688C0820BE76872301EBC40F6F0452B2611331D8F7",
                "5BE64AE3869D7080A48C52E9B61525AB",
            ),
            (
                "0007271TN00E00019BAD23B0CEF79E33328CA0568A0E186FC17E8DE738AAF9FB67C6E1FF",
                "EA671925BFD6B6F1A28051857C2CC1D9",
            ),
            (
                "00072B0TN00E0001566678078B5337915F4860C92F3FF2D6A6B11E8786F22DC8032EB758",
                "C8A16DABB957C1761652C1A49E836294",
            ),
            (
                "00072V2TN00E00014C0328F82856C4E6D7CCF7A9A1597CB0662C35A18CC72EB9CF97917C",
                "0B169746643829CD0489A8AB8A268016",
            ),
        ] {
            check(&lmk, block, Ok(key));
            let key = hex::decode(key).unwrap();
            let header = block.as_bytes()[..16].try_into().unwrap();
            let again = lmk.seal(header, &key, &[7; 8]);
            assert_eq!(again.len(), block.len());
            assert_eq!(*lmk.open(&again).unwrap(), key);
        }
        let changed = "00072P0TN00E0001EA421618B34F5FA1A77F7CF6480111B97CF0FAE7BD77D589EC921EF9";
        check(&lmk, changed, Err(ErrorCode::AUTHENTICATION));
        check(&lmk, "10096", Err(ErrorCode::LMK_SCHEME));
        check(&lmk, "00016P0TB00E0001", Err(ErrorCode::BLOCK_LENGTH));
    }

    /// Blocks of a device with the AES test LMK, and two of the same set under another LMK.
    #[test]
    fn blocks_under_aes() {
        let lmk = Protection::aes(&lmk::AES_BLOCK).unwrap();
        for (block, key) in [
            (
                "10096P0TN00E0003DDAD808976114849F5464E8944D2205F25A308863340D066ADCDA79E3B1F08AC034229C023D01106",
                "BFBC1A04ABA78AC4E0FBB5913D5B9216",
            ),
            (
                "10096B0TN00E0002F21247ABCAF1AAB60415020B95858FA2D3D35DCE0B9CA675739A1C6EC367061107D66472D5097626",
                "000102030405060708090A0B0C0D0E0F",
            ),
            (
                "10096P0TE00E0000CF29A901B5B5DA7028693D4BE058A7B366D3CD2F5862D94E97BCD6D9F28B414A377052CE7A04D821",
                "F039121BEC83D26B169BDCD5B22AAF8F",
            ),
        ] {
            check(&lmk, block, Ok(key));
            let header = block.as_bytes()[..16].try_into().unwrap();
            let again = lmk.seal(header, &hex::decode(key).unwrap(), &[1, 2, 3]);
            assert_eq!(again.len(), block.len());
            assert_eq!(*lmk.open(&again).unwrap(), hex::decode(key).unwrap());
        }
    }
}
