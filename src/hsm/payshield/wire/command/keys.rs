//! Keys: A0 generates, A6 and FA import from under a ZMK, A8 exports under one, BU gives a check value.
//!
//! **Never here:** RSA, components, printing.

use crate::hsm::payshield::wire::field::{CheckValue, KeyType2, Letter};
use crate::hsm::payshield::wire::key::{Key, KeyType, Scheme};
use crate::hsm::payshield::wire::layout::layout;
use crate::hsm::payshield::wire::option::{
    Attributes, BlockVersion, CheckType, ExportUnder, Exportability, LmkHere, LongType, Schemes,
};
use crate::hsm::payshield::wire::scan::{Fault, Field, Reader, Writer};

layout! {
    /// A0, modes 0 and 1; mode 1 has the key it is exported under.
    GenerateKey<'a> {
        mode: Letter = "mode: 0 generate, 1 generate and export",
        key_type: KeyType = "key type",
        scheme: Letter = "scheme under the LMK",
        export: Option<ExportUnder<'a>> = "key to export under",
        lmk: LmkHere = "LMK identifier",
        attributes: Option<Attributes> = "attributes of the key block",
    }
}

/// A1: with one key, or with a second one under the ZMK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Generated<'a> {
    /// Under the LMK.
    pub key: Key<'a>,
    /// Under the ZMK.
    pub exported: Option<Key<'a>>,
    /// Check value.
    pub check: CheckValue,
}

impl<'a> Field<'a> for Generated<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let key = Key::read(reader)?;
        // A check value is 6 hex digits; a key begins with a scheme, or has more of them.
        let more = reader.left().iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        let exported = if 16 < more { Some(Key::read(reader)?) } else { None };
        Ok(Self { key, exported, check: CheckValue::read(reader)? })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.key.write(writer);
        self.exported.iter().for_each(|key| key.write(writer));
        self.check.write(writer);
    }
}

layout! {
    /// A6.
    ImportKey<'a> {
        key_type: KeyType = "key type",
        zmk: Key<'a> = "ZMK",
        key: Key<'a> = "key under the ZMK",
        scheme: Letter = "scheme under the LMK",
        lmk: LmkHere = "LMK identifier",
        attributes: Option<Attributes> = "attributes of the key block",
    }
}

layout! {
    /// A7, FB: the key under the LMK. A9: under the ZMK.
    KeyAndCheck<'a> {
        key: Key<'a> = "key",
        check: CheckValue = "check value",
    }
}

layout! {
    /// A8.
    ExportKey<'a> {
        key_type: KeyType = "key type",
        flag: Option<ZmkFlag> = "kind of the key it is exported under",
        zmk: Key<'a> = "ZMK",
        key: Key<'a> = "key under the LMK",
        scheme: Letter = "scheme under the ZMK",
        lmk: LmkHere = "LMK identifier",
        exportability: Option<Exportability> = "exportability",
        version: Option<BlockVersion> = "version of the TR-31 key block",
    }
}

/// `;` and `0` for a ZMK, `1` for a TMK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ZmkFlag(pub Letter);

impl crate::hsm::payshield::wire::option::Marked for ZmkFlag {
    const MARKS: &'static [u8] = b";";
}

impl<'a> Field<'a> for ZmkFlag {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        reader.take(1)?;
        Letter::read(reader).map(Self)
    }

    fn write(&self, writer: &mut Writer<'_>) {
        writer.byte(b';');
        self.0.write(writer);
    }
}

layout! {
    /// FA.
    ImportZpk<'a> {
        zmk: Key<'a> = "ZMK",
        key: Key<'a> = "ZPK under the ZMK",
        schemes: Option<Schemes> = "schemes",
    }
}

/// BU. How long a key without a scheme is, the flag says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckKey<'a> {
    /// Two characters; `FF`: see `long_type`.
    pub key_type: KeyType2,
    /// `0` single, `1` double, `2` triple, `F` key block.
    pub length: Letter,
    /// The key.
    pub key: Key<'a>,
    /// Three characters, where two were `FF`.
    pub long_type: Option<LongType>,
    /// `0`: 16 digits, `1`: 6.
    pub check: Option<CheckType>,
}

impl<'a> Field<'a> for CheckKey<'a> {
    fn read(reader: &mut Reader<'a>) -> Result<Self, Fault> {
        let key_type: KeyType2 = reader.field("key type")?;
        let length: Letter = reader.field("key length flag")?;
        reader.assume.bare = match &length.0 {
            b"1" => 32,
            b"2" => 48,
            _ => 16,
        };
        let key = reader.field("key")?;
        let long = key_type.0 == *b"FF";
        let long_type = if long { reader.field("long key type")? } else { None };
        Ok(Self {
            key_type,
            length,
            key,
            long_type,
            check: reader.field("type of the check value")?,
        })
    }

    fn write(&self, writer: &mut Writer<'_>) {
        self.key_type.write(writer);
        self.length.write(writer);
        self.key.write(writer);
        self.long_type.write(writer);
        self.check.write(writer);
    }
}

layout! {
    /// BV.
    Checked {
        check: CheckValue = "check value",
    }
}

/// A scheme letter as the scheme of a key, or as that of a key block.
#[must_use]
pub fn scheme_of(letter: Letter) -> Option<NewForm> {
    match letter.0[0] {
        b'S' => Some(NewForm::Block),
        b'R' => Some(NewForm::Tr31),
        other => Scheme::of(other).map(NewForm::Scheme),
    }
}

/// What form a new key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewForm {
    /// Encrypted as the scheme says.
    Scheme(Scheme),
    /// Thales key block.
    Block,
    /// TR-31 key block.
    Tr31,
}
