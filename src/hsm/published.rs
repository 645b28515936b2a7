//! Keys everybody knows: of standards, of vendors' manuals, of this project's demo.
//!
//! A switch that meets one in its key file refuses to serve, unless told that it is a test installation. **Never
//! here:** a key that is not already printed somewhere public.

use subtle::{Choice, ConstantTimeEq};

/// The demo's local master key: the AES test LMK that payShield installations ship with (check value 9D04A0).
pub const DEMO_LMK: [u8; 32] = [
    0x9B, 0x71, 0x33, 0x3A, 0x13, 0xF9, 0xFA, 0xE7, 0x2F, 0x9D, 0x0E, 0x2D, 0xAB, 0x4A, 0xD6, 0x78,
    0x47, 0x18, 0x01, 0x2F, 0x92, 0x44, 0x03, 0x3F, 0x3F, 0x26, 0xA2, 0xDE, 0x0C, 0x8A, 0xA1, 0x1A,
];

/// The rest, in hex.
const PUBLISHED: &[&str] = &[
    // ANSI X9.24-1 sample BDK, and the sample PVK of most manuals.
    "0123456789ABCDEFFEDCBA9876543210",
    "FEDCBA98765432100123456789ABCDEF",
    "11111111111111112222222222222222",
    "0123456789ABCDEF8080808080808080FEDCBA9876543210",
    "01234567890ABCDEF1234567890ABCDE",
    // ANSI X9.24-3 sample BDKs and other AES samples.
    "FEDCBA9876543210F1F1F1F1F1F1F1F1",
    "FEDCBA9876543210F1F1F1F1F1F1F1F1FEDCBA9876543210F1F1F1F1F1F1F1F1",
    "00112233445566778899AABBCCDDEEFF",
    "000102030405060708090A0B0C0D0E0F",
    "000102030405060708090A0B0C0D0E0F101112131415161718191A1B1C1D1E1F",
    "2B7E151628AED2A6ABF7158809CF4F3C",
    // Samples under the published payShield test LMKs.
    "C7152C20BC2C830EA7EC9E8334ABE3FE",
    "98519E45CBB9291F49EFAD4AFEFDDC79",
    "D3DCC7EA9BCB755D254620B376B3D007",
    "7962D9ECE03D1ACD4C76089DCE131543",
    "851A0D9D0B2A1602622AD0B0E9E6B070",
    "C8199237EA5857BC40EF9DA2B5E96BBF",
    "86190176866EC17FB32685ADB6ADA83B",
    "C8A16DABB957C1761652C1A49E836294",
    "0D32F132F8FD987051C4B52329914045",
    "5BE64AE3869D7080A48C52E9B61525AB",
    "EA671925BFD6B6F1A28051857C2CC1D9",
    "0B169746643829CD0489A8AB8A268016",
    "54A1521FDA7083E9C83E9EC4263786EC",
    // The demo world.
    "C1D0F8FB4958670DBA40AB1F3752EF0D",
    "2315208C9110AD40A8B6C7D5E5F20210",
    "8A7F3E1C5D2A6B4998E0D0C2B3A49486",
    "1F2F3D4C5B6B79890123456789ABCDEF",
    "6B5B4C3D2F1F0B9B8C7C6E5E40312313",
    "9B8A7C6D5E4F31201A2A3D4C5E6E7080",
    "A1B3C2D5E5F70719293B4A5D6D7F8F91",
    // What tests/vectors/make.py puts in the place of its zpk.atm.
    "CD7FB6B60167CE76A808435E52E90DCE",
];

/// SHA-256 of the public halves of published RSA keys, in hex: `tests/vectors/rsa.json`.
const PUBLISHED_RSA: &[&str] =
    &["B9917DEE7211F5DE09742CB95564F309DF7A9673E6E9B7F64751AF2EB0D6B7A0"];

/// Whether a public RSA key with this SHA-256 is half of a published pair.
#[must_use]
pub fn is_published_rsa(fingerprint: &[u8; 32]) -> bool {
    PUBLISHED_RSA.contains(&&*hex::encode_upper(fingerprint))
}

/// Whether these bytes are a published key. Parity bits do not count, and neither does which algorithm it is used for.
#[must_use]
pub fn is_published(bytes: &[u8]) -> bool {
    let listed = PUBLISHED.iter().filter_map(|text| hex::decode(text).ok());
    let demo = std::iter::once(DEMO_LMK.to_vec());
    let found = listed.chain(demo).fold(Choice::from(0), |found, key| {
        let same = key.len() == bytes.len();
        let differing = key.iter().zip(bytes).fold(0, |acc, (a, b)| acc | ((a ^ b) & 0xFE));
        found | (differing.ct_eq(&0) & Choice::from(u8::from(same)))
    });
    found.into()
}
