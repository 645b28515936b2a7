//! [`Header`]: what a key block says in the clear of the key inside.
//!
//! Optional blocks stay as they came, byte for byte: the MAC covers them, and who sent them may want them back. **Never
//! here:** a key.

use std::fmt;

use crate::hsm::tr31::{BLOCK_BYTES_MAX, HEADER_BYTES, Tr31Error, Version};

/// Optional blocks a header can count.
const OPTIONAL_MAX: usize = 99;
/// Id of the optional block that fills the others up to whole cipher blocks.
const PADDING: &[u8; 2] = b"PB";

/// What a key block says of its key. Every field has a value that the standard knows, or a private one (digits).
#[derive(Clone, PartialEq, Eq)]
pub struct Header {
    version: Version,
    usage: [u8; 2],
    algorithm: u8,
    mode: u8,
    key_version: [u8; 2],
    exportability: u8,
    reserved: [u8; 2],
    count: usize,
    // Invariant: `count` well-formed optional blocks, a multiple of the version's cipher block in all.
    optional: Vec<u8>,
}

/// One optional block.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Optional<'a> {
    /// Its two characters.
    pub id: [u8; 2],
    /// Its text.
    pub text: &'a [u8],
}

impl fmt::Debug for Header {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.usage.map(char::from);
        let (algorithm, mode) = (char::from(self.algorithm), char::from(self.mode));
        write!(f, "Header({} {first}{second} {algorithm} {mode})", self.version)
    }
}

impl fmt::Debug for Optional<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, second] = self.id.map(char::from);
        write!(f, "Optional({first}{second}, {} characters)", self.text.len())
    }
}

impl Header {
    /// One for a new block: key version `00`, no optional blocks.
    ///
    /// # Errors
    /// [`Tr31Error::Field`] names the field whose value no standard knows.
    pub fn new(
        version: Version,
        usage: [u8; 2],
        algorithm: u8,
        mode: u8,
        exportability: u8,
    ) -> Result<Self, Tr31Error> {
        let header = Self {
            version,
            usage,
            algorithm,
            mode,
            key_version: *b"00",
            exportability,
            reserved: *b"00",
            count: 0,
            optional: Vec::new(),
        };
        header.check().map(|()| header)
    }

    /// The same header with these optional blocks, filled up to whole cipher blocks where need be.
    ///
    /// # Errors
    /// [`Tr31Error::Optional`] for a name or a text that cannot stand there, [`Tr31Error::TooLong`].
    pub fn with_optional(self, blocks: &[Optional<'_>]) -> Result<Self, Tr31Error> {
        let mut optional = Vec::new();
        for block in blocks {
            put(&mut optional, block.id, block.text);
        }
        let size = self.version.block_bytes();
        let mut count = blocks.len();
        if !optional.len().is_multiple_of(size) {
            // The smallest padding is four characters: its name and its length.
            let least = optional.len() + 4;
            put(&mut optional, *PADDING, &b"0".repeat(least.next_multiple_of(size) - least));
            count += 1;
        }
        if OPTIONAL_MAX < count || BLOCK_BYTES_MAX < HEADER_BYTES + optional.len() {
            return Err(Tr31Error::TooLong);
        }
        let bytes = walk(&optional, count)?;
        debug_assert_eq!(bytes, optional.len(), "what was put is what is read");
        Ok(Self { count, optional, ..self })
    }

    /// How the block is protected.
    #[must_use]
    pub fn version(&self) -> Version {
        self.version
    }

    /// What the key is for: `P0` PIN blocks, `K0` other keys, `V2` PVVs.
    #[must_use]
    pub fn usage(&self) -> &[u8; 2] {
        &self.usage
    }

    /// Its cipher: `T` triple DES, `A` AES, `H` HMAC.
    #[must_use]
    pub fn algorithm(&self) -> u8 {
        self.algorithm
    }

    /// What it may do: `E` encrypt, `D` decrypt, `B` both, `G` make MACs, `V` verify, `C` both, `X` derive, `N` any.
    #[must_use]
    pub fn mode(&self) -> u8 {
        self.mode
    }

    /// Its version.
    #[must_use]
    pub fn key_version(&self) -> &[u8; 2] {
        &self.key_version
    }

    /// Whether it may be passed on: `E` under a key block key, `S` also otherwise, `N` never.
    #[must_use]
    pub fn exportability(&self) -> u8 {
        self.exportability
    }

    /// The optional blocks, in their order; padding is one of them.
    pub fn optional(&self) -> impl Iterator<Item = Optional<'_>> {
        let mut rest = &self.optional[..];
        (0..self.count).map_while(move |_| {
            let (block, after) = split(rest)?;
            rest = after;
            Some(block)
        })
    }

    /// Reads the header of a whole block, and tells where it ends.
    pub(super) fn read(block: &[u8]) -> Result<(Self, usize), Tr31Error> {
        let version = block.first().and_then(|letter| Version::of(*letter));
        let version = version.ok_or(Tr31Error::Version)?;
        let cut_off = Tr31Error::Length { stated: HEADER_BYTES, actual: block.len() };
        let fixed: &[u8; HEADER_BYTES] = block.first_chunk().ok_or(cut_off)?;
        if let Some(at) = block.iter().position(|byte| !matches!(byte, b' '..=b'~')) {
            return Err(Tr31Error::Character { at: at + 1 });
        }
        let [_, a, b, c, d, usage @ .., algorithm, mode, k1, k2, exportability, n1, n2, r1, r2] =
            *fixed;
        let stated = decimal(&[a, b, c, d]).ok_or(Tr31Error::Field { name: "length", at: 2 })?;
        let count = decimal(&[n1, n2]);
        let count = count.ok_or(Tr31Error::Field { name: "number of optional blocks", at: 13 })?;
        if stated != block.len() || !stated.is_multiple_of(version.block_bytes()) {
            return Err(Tr31Error::Length { stated, actual: block.len() });
        }
        let rest = block.get(HEADER_BYTES..).unwrap_or_default();
        let bytes = walk(rest, count)?;
        if !bytes.is_multiple_of(version.block_bytes()) {
            return Err(Tr31Error::Optional { number: count });
        }
        let header = Self {
            version,
            usage,
            algorithm,
            mode,
            key_version: [k1, k2],
            exportability,
            reserved: [r1, r2],
            count,
            optional: rest.get(..bytes).unwrap_or_default().to_vec(),
        };
        header.check()?;
        Ok((header, HEADER_BYTES + bytes))
    }

    /// Its text, for a block with so many characters behind it.
    pub(super) fn write(&self, behind: usize) -> Result<Vec<u8>, Tr31Error> {
        let length = HEADER_BYTES + self.optional.len() + behind;
        if BLOCK_BYTES_MAX < length {
            return Err(Tr31Error::TooLong);
        }
        let mut text = Vec::with_capacity(length);
        text.push(self.version.letter());
        text.extend_from_slice(format!("{length:04}").as_bytes());
        text.extend_from_slice(&self.usage);
        text.extend_from_slice(&[self.algorithm, self.mode]);
        text.extend_from_slice(&self.key_version);
        text.push(self.exportability);
        text.extend_from_slice(format!("{:02}", self.count).as_bytes());
        text.extend_from_slice(&self.reserved);
        text.extend_from_slice(&self.optional);
        Ok(text)
    }

    fn check(&self) -> Result<(), Tr31Error> {
        let name = |byte: &u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
        let digit = |byte: u8| byte.is_ascii_digit();
        let fields = [
            ("usage", 6, self.usage.iter().all(name)),
            ("algorithm", 8, digit(self.algorithm) || b"ADEHRST".contains(&self.algorithm)),
            ("mode of use", 9, digit(self.mode) || b"BCDEGNSTVXY".contains(&self.mode)),
            ("key version", 10, self.key_version.iter().all(u8::is_ascii_alphanumeric)),
            ("exportability", 12, b"ENS".contains(&self.exportability)),
            ("reserved field", 15, self.reserved.iter().all(u8::is_ascii_alphanumeric)),
        ];
        match fields.iter().find(|(.., known)| !known) {
            Some((name, at, _)) => Err(Tr31Error::Field { name, at: *at }),
            None => Ok(()),
        }
    }
}

/// Bytes of the first `count` optional blocks.
fn walk(text: &[u8], count: usize) -> Result<usize, Tr31Error> {
    let mut rest = text;
    for number in 1..=count {
        let found = split(rest).filter(|(block, _)| {
            block.id.iter().all(u8::is_ascii_alphanumeric)
                && block.text.iter().all(|byte| matches!(byte, b' '..=b'~'))
        });
        rest = found.ok_or(Tr31Error::Optional { number })?.1;
    }
    Ok(text.len() - rest.len())
}

/// The first optional block and what follows. Its length counts all of it; after `00` come the number of bytes that a
/// longer length has, and that length.
fn split(text: &[u8]) -> Option<(Optional<'_>, &[u8])> {
    let (id, rest) = text.split_first_chunk::<2>()?;
    let (short, rest) = rest.split_first_chunk::<2>()?;
    let (length, head) = match hexadecimal(short)? {
        0 => {
            let (digits, rest) = rest.split_first_chunk::<2>()?;
            let digits = 2 * hexadecimal(digits)?;
            let length = hexadecimal(rest.get(..digits)?)?;
            (length, 6 + digits)
        }
        length => (length, 4),
    };
    let block = text.get(head..length)?;
    Some((Optional { id: *id, text: block }, text.get(length..)?))
}

/// Appends an optional block.
fn put(to: &mut Vec<u8>, id: [u8; 2], text: &[u8]) {
    to.extend_from_slice(&id);
    let short = text.len() + 4;
    if short <= 0xFF {
        to.extend_from_slice(format!("{short:02X}").as_bytes());
    } else {
        to.extend_from_slice(format!("0002{:04X}", text.len() + 10).as_bytes());
    }
    to.extend_from_slice(text);
}

fn decimal(digits: &[u8]) -> Option<usize> {
    digits.iter().try_fold(0, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + usize::from(digit - b'0'))
    })
}

/// Up to six hex digits: no block is longer than four of them say.
fn hexadecimal(digits: &[u8]) -> Option<usize> {
    let usable = (1..=6).contains(&digits.len());
    let digit = |digit: &u8| char::from(*digit).to_digit(16);
    usable.then_some(())?;
    digits
        .iter()
        .try_fold(0, |number, byte| Some(number << 4 | usize::try_from(digit(byte)?).ok()?))
}
