//! Names and secrecy of the chip tags that travel with a PIN change, for explaining a message.
//!
//! Names follow EMV Book 3, annex A; the tags are those of requests, answers and scripts. A tag that is not here is
//! unknown, which is no error: it is shown by number and passed on. **Never here:** rules about values.

use super::Tag;

/// Who may see a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagSecrecy {
    /// Anyone.
    Public,
    /// First six and last four digits.
    Masked,
    /// Nobody.
    Secret,
}

/// A line of the table.
#[derive(Clone, Copy, Debug)]
pub struct TagInfo {
    /// The tag.
    pub tag: Tag,
    /// Its name.
    pub name: &'static str,
    /// Who may see its value.
    pub secrecy: TagSecrecy,
}

/// What is known of a tag. An unknown one may hold anything: show its length only.
#[must_use]
pub fn info(tag: Tag) -> Option<&'static TagInfo> {
    TAGS.binary_search_by_key(&tag, |line| line.tag).ok().map(|at| &TAGS[at])
}

const fn line(tag: u32, name: &'static str, secrecy: TagSecrecy) -> TagInfo {
    TagInfo { tag: Tag(tag), name, secrecy }
}

/// In ascending order; checked below.
#[rustfmt::skip]
pub(super) const TAGS: &[TagInfo] = {
    use TagSecrecy::{Masked, Public, Secret};
    &[
        line(0x4F,   "application identifier (AID), card", Public),
        line(0x50,   "application label", Public),
        line(0x57,   "track 2 equivalent data", Masked),
        line(0x5A,   "application PAN", Masked),
        line(0x70,   "record template", Public),
        line(0x71,   "issuer script template 1", Public),
        line(0x72,   "issuer script template 2", Public),
        line(0x77,   "response message template format 2", Public),
        line(0x82,   "application interchange profile", Public),
        line(0x84,   "dedicated file name", Public),
        line(0x86,   "issuer script command", Secret),
        line(0x8A,   "authorisation response code", Public),
        line(0x91,   "issuer authentication data", Public),
        line(0x95,   "terminal verification results", Public),
        line(0x9A,   "transaction date", Public),
        line(0x9B,   "transaction status information", Public),
        line(0x9C,   "transaction type", Public),
        line(0xC0,   "secondary PIN block", Secret),
        line(0x5F20, "cardholder name", Secret),
        line(0x5F24, "application expiration date", Public),
        line(0x5F2A, "transaction currency code", Public),
        line(0x5F34, "application PAN sequence number", Public),
        line(0x9F02, "amount, authorised", Public),
        line(0x9F03, "amount, other", Public),
        line(0x9F06, "application identifier (AID), terminal", Public),
        line(0x9F07, "application usage control", Public),
        line(0x9F09, "application version number, terminal", Public),
        line(0x9F0D, "issuer action code, default", Public),
        line(0x9F0E, "issuer action code, denial", Public),
        line(0x9F0F, "issuer action code, online", Public),
        line(0x9F10, "issuer application data", Public),
        line(0x9F18, "issuer script identifier", Public),
        line(0x9F1A, "terminal country code", Public),
        line(0x9F1E, "interface device serial number", Public),
        line(0x9F26, "application cryptogram", Public),
        line(0x9F27, "cryptogram information data", Public),
        line(0x9F33, "terminal capabilities", Public),
        line(0x9F34, "cardholder verification method results", Public),
        line(0x9F35, "terminal type", Public),
        line(0x9F36, "application transaction counter", Public),
        line(0x9F37, "unpredictable number", Public),
        line(0x9F41, "transaction sequence counter", Public),
        line(0x9F53, "transaction category code", Public),
        line(0x9F5B, "issuer script results", Public),
        line(0x9F6E, "form factor indicator, third-party data", Public),
    ]
};

const _: () = {
    let mut i = 1;
    while i < TAGS.len() {
        assert!(TAGS[i - 1].tag.0 < TAGS[i].tag.0, "TAGS must be sorted");
        i += 1;
    }
};
