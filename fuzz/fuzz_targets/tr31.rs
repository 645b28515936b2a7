//! Any bytes as a TR-31 key block: no panic, and what opens is written again.
#![no_main]

use pinion::hsm::key::Algorithm;
use pinion::hsm::tr31::{PAD_BYTES, open, seal};

/// The protection key of the device's blocks in the corpus.
const TDES: [u8; 16] =
    [0xEF, 0xE0, 0x85, 0x3B, 0x25, 0x6B, 0x58, 0x3D, 0x86, 0x8F, 0x25, 0x1C, 0xE9, 0x9E, 0xA1, 0xD9];

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (algorithm, protection) in [(Algorithm::Tdes, &TDES[..]), (Algorithm::Aes, &[0x41; 32])] {
        let Ok((header, key)) = open(algorithm, protection, bytes) else { continue };
        let Ok(block) = seal(algorithm, protection, &header, &key, &[0; PAD_BYTES]) else { continue };
        let (again, opened) = open(algorithm, protection, &block).expect("what is written is read");
        assert!(again == header && opened == key);
    }
});
