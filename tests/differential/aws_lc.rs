//! The same PIN changes by another cipher: triple DES and AES of AWS-LC, and arithmetic of this file alone.
//!
//! Written from ISO 9564-1 and from the descriptions of Visa's PVV and IBM's 3624. **Never here:** anything of the
//! crate under test, or a value of psec.

#![expect(deprecated, reason = "what AWS-LC says of triple DES: for legacy use only")]

use aws_lc_rs::cipher::{
    AES_128, Algorithm, DES_EDE_FOR_LEGACY_USE_ONLY as TDES, DecryptingKey, DecryptionContext,
    EncryptingKey, UnboundCipherKey,
};

/// IBM 3624: table and validation data.
#[derive(serde::Deserialize)]
pub(crate) struct Ibm {
    pub(crate) table: String,
    pub(crate) start: u8,
    pub(crate) length: u8,
    pub(crate) pad: char,
}

fn key(algorithm: &'static Algorithm, hex: &str) -> UnboundCipherKey {
    UnboundCipherKey::new(algorithm, &hex::decode(hex).expect("hex")).expect("a key")
}

/// All in hexadecimal digits.
fn decrypt(algorithm: &'static Algorithm, hex: &str, block: &str) -> String {
    let mut block = hex::decode(block).expect("hex");
    let key = DecryptingKey::ecb(key(algorithm, hex)).expect("a key");
    key.decrypt(&mut block, DecryptionContext::None).expect("whole blocks");
    hex::encode_upper(block)
}

fn encrypt(algorithm: &'static Algorithm, hex: &str, block: &str) -> String {
    let mut block = hex::decode(block).expect("hex");
    let key = EncryptingKey::ecb(key(algorithm, hex)).expect("a key");
    key.encrypt(&mut block).expect("whole blocks");
    hex::encode_upper(block)
}

fn exclusive_or(one: &str, other: &str) -> String {
    let digit = |digit: char| digit.to_digit(16).expect("hex");
    let both = one.chars().zip(other.chars());
    let sums = both.map(|(one, other)| char::from_digit(digit(one) ^ digit(other), 16));
    sums.map(|digit| digit.expect("hex").to_ascii_uppercase()).collect()
}

/// The twelve rightmost digits of the account, without the check digit.
fn twelve(pan: &str) -> &str {
    &pan[pan.len() - 13..pan.len() - 1]
}

/// The PIN in a block of a format; `None` where control, length, digits or fill are not as the format has them.
pub(crate) fn open(format: char, zpk: &str, block: &str, pan: &str) -> Option<String> {
    let account = format!("0000{}", twelve(pan));
    let clear = match format {
        '0' | '3' => exclusive_or(&decrypt(&TDES, zpk, block), &account),
        '1' => decrypt(&TDES, zpk, block),
        '4' => {
            let account = format!("{:0<32}", format!("{}{pan}", pan.len() - 12));
            decrypt(&AES_128, zpk, &exclusive_or(&decrypt(&AES_128, zpk, block), &account))
        }
        _ => return None,
    };
    let length = usize::from_str_radix(&clear[1..2], 16).expect("hex");
    let (pin, fill) = clear[2..16].split_at_checked(length)?;
    let filled = fill.chars().all(|digit| match format {
        '0' => digit == 'F',
        '3' => digit.is_ascii_uppercase(),
        '4' => digit == 'A',
        _ => true,
    });
    let decimal = pin.chars().all(|digit| digit.is_ascii_digit());
    let right = clear.starts_with(format) && (4..=12).contains(&length) && decimal && filled;
    right.then(|| pin.to_owned())
}

/// The PIN verification value of a PIN: of its first four digits.
pub(crate) fn pvv(pvk: &str, pvki: char, pin: &str, pan: &str) -> String {
    let block = format!("{}{pvki}{}", &twelve(pan)[1..], &pin[..4]);
    let cipher = encrypt(&TDES, pvk, &block);
    let digits = cipher.chars().filter(char::is_ascii_digit);
    let letters = cipher.chars().filter_map(|digit| digit.to_digit(16)?.checked_sub(10));
    let letters = letters.filter_map(|value| char::from_digit(value, 10));
    digits.chain(letters).take(4).collect()
}

/// The offset of a PIN, as many digits as it has.
pub(crate) fn offset(pvk: &str, ibm: &Ibm, pin: &str, pan: &str) -> String {
    let (start, length) = (usize::from(ibm.start), usize::from(ibm.length));
    let data = &pan[start..start + length];
    let data: String = data.chars().chain(std::iter::repeat(ibm.pad)).take(16).collect();
    let cipher = encrypt(&TDES, pvk, &data);
    let offset = pin.bytes().zip(cipher.chars()).map(|(digit, cipher)| {
        let place = usize::try_from(cipher.to_digit(16).expect("hex")).expect("small");
        let natural = ibm.table.as_bytes()[place] - b'0';
        char::from(b'0' + (10 + digit - b'0' - natural) % 10)
    });
    offset.collect()
}
