//! Error codes and what each means for each command: one total table, because low numbers mean different things.
//!
//! `02` with an IBM 3624 PVK of double or triple length is a warning: the command was done. In M6 and M8 it is a wrong
//! mode. Sources: list of the payShield 10K, and the command table of its host command reference. **Never here:** what
//! the switch answers to its own caller.

use std::fmt;

/// Two characters behind the code of an answer.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ErrorCode(pub [u8; 2]);

/// Gives names to codes.
macro_rules! codes {
    ($($(#[$meta:meta])* $name:ident = $code:literal),* $(,)?) => {
        impl ErrorCode {
            $($(#[$meta])* pub const $name: Self = Self(*$code);)*
        }
    };
}

codes! {
    /// Done.
    OK = b"00",
    /// A PIN, a PVV, an offset or a MAC is wrong; A6: the key had another parity and was corrected.
    WRONG = b"01",
    /// Length of a PVK: done all the same; M6 and M8: mode.
    SHORT_KEY = b"02",
    /// Count of excluded PINs; M6: input format.
    COUNT = b"03",
    /// Key type; M6: algorithm.
    KEY_TYPE = b"04",
    /// Key length flag; M6: key type.
    LENGTH_FLAG = b"05",
    /// M6 and M8: length.
    MAC_LENGTH = b"06",
    /// M6 and M8: padding.
    PADDING = b"09",
    /// Parity of the first key.
    SOURCE_PARITY = b"10",
    /// Parity of the second key, or it is all zeros.
    DESTINATION_PARITY = b"11",
    /// User storage holds no such thing.
    STORAGE = b"12",
    /// No such LMK.
    LMK = b"13",
    /// A PIN under the LMK does not open.
    LMK_PIN = b"14",
    /// Input data.
    INPUT = b"15",
    /// Not in the authorised state.
    UNAUTHORISED = b"17",
    /// A PIN block holds no PIN.
    PIN_BLOCK = b"20",
    /// Index.
    INDEX = b"21",
    /// PIN block format, or a translation that is not allowed.
    FORMAT = b"23",
    /// A PIN shorter than 4 or longer than 12 digits.
    PIN_DIGITS = b"24",
    /// Decimalization table.
    TABLE = b"25",
    /// Key scheme.
    SCHEME = b"26",
    /// Key length.
    KEY_LENGTH = b"27",
    /// Key type that does not fit.
    WRONG_TYPE = b"28",
    /// Not permitted.
    NOT_PERMITTED = b"29",
    /// Message header.
    HEADER = b"51",
    /// Branch and height of a tree of session keys.
    TREE = b"52",
    /// No such command, or it is disabled.
    DISABLED = b"68",
    /// PIN block format that is disabled.
    FORMAT_DISABLED = b"69",
    /// Data length.
    DATA_LENGTH = b"80",
    /// Length of a PIN in a table, or of a random PIN.
    PIN_LENGTH = b"81",
    /// Key block.
    KEY_BLOCK = b"83",
    /// The new PIN is in the table of excluded PINs.
    EXCLUDED = b"86",
    /// A key of another kind of LMK.
    LMK_SCHEME = b"A1",
    /// A key block of another LMK.
    LMK_ID = b"A2",
    /// A key block does not authenticate.
    AUTHENTICATION = b"A4",
    /// Length in a key block.
    BLOCK_LENGTH = b"A5",
    /// Usage of a key block.
    USAGE = b"A6",
    /// Algorithm of a key block.
    ALGORITHM = b"A7",
    /// Mode of use of a key block.
    MODE = b"A8",
    /// Exportability of a key block.
    EXPORTABILITY = b"AA",
}

impl fmt::Display for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.escape_ascii())
    }
}

impl fmt::Debug for ErrorCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ErrorCode({self})")
    }
}

/// What a caller does about a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// It was done.
    Done,
    /// It was done, and something is worth a note: the data are there.
    DoneWithWarning,
    /// The PIN, the reference or the MAC is wrong.
    Wrong,
    /// The block holds no PIN, or one of a wrong length.
    NoPin,
    /// The account.
    Account,
    /// A stored PIN does not open: alarm.
    StoredPin,
    /// The new PIN may not be chosen.
    TooWeak,
    /// The length of a PIN is against the rules.
    PinLength,
    /// A key is not what the command needs: alarm.
    Key,
    /// A format or a translation is not allowed.
    FormatPolicy,
    /// We sent something wrong: alarm.
    OurFault,
    /// The device is set up so that it does not do this.
    Setup,
    /// The device cannot work: another may.
    OutOfService,
    /// The device locked itself against fraud: alarm, and not again.
    FraudLock,
    /// Not in any list we know.
    Unlisted,
}

/// What a code means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// What to do about it.
    pub class: Class,
    /// What the manual says, in short.
    pub text: &'static str,
}

const fn of(class: Class, text: &'static str) -> Meaning {
    Meaning { class, text }
}

/// Commands in which `02` says that a PVK is of double or triple length, and the rest is there.
const IBM_FAMILY: &[&[u8; 2]] = &[b"BK", b"CK", b"DA", b"DE", b"DU", b"EA", b"EE", b"GO"];

/// Whether an answer has its data beside this code.
#[must_use]
pub fn has_data(command: [u8; 2], error: ErrorCode) -> bool {
    matches!(meaning(command, error).class, Class::Done | Class::DoneWithWarning)
}

/// What `error` means as an answer to `command`.
#[must_use]
pub fn meaning(command: [u8; 2], error: ErrorCode) -> Meaning {
    special(command, error).unwrap_or_else(|| common(error))
}

/// What only some commands mean by a code.
fn special(command: [u8; 2], error: ErrorCode) -> Option<Meaning> {
    if error == ErrorCode::SHORT_KEY && IBM_FAMILY.contains(&&command) {
        return Some(of(Class::DoneWithWarning, "PVK of double or triple length"));
    }
    Some(match (&command, &error.0) {
        (b"A6" | b"FA", b"01") => of(Class::DoneWithWarning, "imported key had another parity"),
        (b"M6" | b"M8", code) => mac(*code)?,
        (b"CA" | b"JC", b"10") => of(Class::Key, "parity of the TPK"),
        (b"CA" | b"G0", b"11") => of(Class::Key, "parity of the destination key"),
        (b"CC", b"10") => of(Class::Key, "parity of the source ZPK"),
        (b"CC", b"11") => of(Class::Key, "parity of the destination ZPK"),
        (b"JE", b"10") | (b"JG", b"11") => of(Class::Key, "parity of the ZPK"),
        (b"BC" | b"BE" | b"DA" | b"EA" | b"DC" | b"EC" | b"BK" | b"DU" | b"CU", b"10") => {
            of(Class::Key, "parity of the PIN key")
        }
        (b"FW" | b"DG" | b"DE" | b"EE", b"10") => of(Class::Key, "parity of the PVK"),
        (b"FW" | b"DA" | b"EA" | b"DC" | b"EC" | b"BK" | b"DU" | b"CU" | b"GO" | b"GQ", b"11") => {
            of(Class::Key, "parity of the PVK")
        }
        (b"DC" | b"EC" | b"CU" | b"FW" | b"DG" | b"GQ", b"27") => {
            of(Class::Key, "PVK is not of double length")
        }
        (b"G0" | b"GO" | b"GW", b"27") => of(Class::Key, "BDK is not of double or triple length"),
        (b"G0" | b"GO" | b"GQ" | b"GW", b"10") => of(Class::Key, "parity of the BDK"),
        (b"JA", b"81") => of(Class::PinLength, "length of the random PIN"),
        (b"BK" | b"CU" | b"DE" | b"DG" | b"DU" | b"EE" | b"FW" | b"JA", b"03") => {
            of(Class::OurFault, "count of excluded PINs")
        }
        (b"B2", b"80") => of(Class::OurFault, "fewer bytes than the length says"),
        // Of KU and KY only 52 is public; the others are those of KQ and KW, which read the same fields.
        (b"KU" | b"KY", b"04") | (b"GW", b"02") => of(Class::OurFault, "mode"),
        (b"KU" | b"KY", b"05") => of(Class::OurFault, "scheme"),
        (b"KU" | b"KY", b"06") => of(Class::OurFault, "offset of the encrypted part"),
        (b"KU" | b"KY", b"10") => of(Class::Key, "parity of the MK-SMI"),
        (b"KU" | b"KY", b"11") => of(Class::Key, "parity of another key"),
        (b"KU" | b"KY", b"81") => of(Class::OurFault, "no data"),
        (b"GW", b"01") => of(Class::Wrong, "MAC is wrong"),
        _ => return None,
    })
}

/// Those of M6 and M8 that are not as elsewhere.
fn mac(code: [u8; 2]) -> Option<Meaning> {
    Some(match &code {
        b"01" => of(Class::Wrong, "MAC is wrong"),
        b"02" => of(Class::OurFault, "mode"),
        b"03" => of(Class::OurFault, "input format"),
        b"04" => of(Class::OurFault, "algorithm"),
        b"05" => of(Class::OurFault, "key type"),
        b"06" => of(Class::OurFault, "length of the message"),
        b"09" => of(Class::OurFault, "padding"),
        b"10" => of(Class::Key, "parity of the MAC key"),
        _ => return None,
    })
}

/// What a code means where a command does not say otherwise.
fn common(error: ErrorCode) -> Meaning {
    match &error.0 {
        b"00" => of(Class::Done, "done"),
        b"01" => of(Class::Wrong, "verification failure"),
        b"02" => of(Class::Key, "key length inappropriate for the algorithm"),
        b"03" => of(Class::OurFault, "a field of the command"),
        b"04" => of(Class::OurFault, "key type code"),
        b"05" => of(Class::OurFault, "key length flag"),
        b"10" => of(Class::Key, "parity of the source key"),
        b"11" => of(Class::Key, "parity of the destination key, or all zeros"),
        b"12" => of(Class::OutOfService, "user storage not available"),
        b"13" => of(Class::OutOfService, "LMK identifier"),
        b"14" => of(Class::StoredPin, "PIN under the LMK does not open"),
        b"15" => of(Class::OurFault, "input data"),
        b"16" => of(Class::OutOfService, "console or printer not ready"),
        b"17" => of(Class::Setup, "not in the authorised state"),
        b"18" => of(Class::Setup, "print format not loaded"),
        b"19" => of(Class::Setup, "Diebold table"),
        b"20" => of(Class::NoPin, "PIN block does not hold valid values"),
        b"21" => of(Class::OurFault, "index"),
        b"22" => of(Class::Account, "account number"),
        b"23" => of(Class::FormatPolicy, "PIN block format code, or translation not allowed"),
        b"24" => of(Class::NoPin, "PIN is fewer than 4 or more than 12 digits"),
        b"25" => of(Class::Key, "decimalization table"),
        b"26" => of(Class::Key, "key scheme"),
        b"27" => of(Class::Key, "key length"),
        b"28" => of(Class::Key, "key type"),
        b"29" => of(Class::Setup, "function not permitted"),
        b"30" => of(Class::OurFault, "reference number"),
        b"32" => of(Class::Setup, "AES not licensed"),
        b"33" => of(Class::OutOfService, "key change storage corrupted"),
        b"39" => of(Class::FraudLock, "fraud detection"),
        b"40" => of(Class::OutOfService, "firmware checksum"),
        b"41" => of(Class::OutOfService, "hardware or software"),
        b"42" => of(Class::OutOfService, "DES failure"),
        b"43" => of(Class::OutOfService, "RSA key generation"),
        b"47" => of(Class::Setup, "algorithm not licensed"),
        b"49" => of(Class::Key, "private key"),
        b"51" => of(Class::OurFault, "message header"),
        b"52" => of(Class::OurFault, "branch and height"),
        b"65" => of(Class::Key, "key scheme is none"),
        b"67" => of(Class::Setup, "command not licensed"),
        b"68" => of(Class::Setup, "command disabled, or unknown"),
        b"69" => of(Class::FormatPolicy, "PIN block format disabled"),
        b"75" => of(Class::Key, "single-length key in a longer one"),
        b"76" => of(Class::Key, "RSA key length"),
        b"77" => of(Class::OurFault, "clear data block"),
        b"78" => of(Class::Key, "private key length"),
        b"79" => of(Class::OurFault, "hash algorithm"),
        b"80" => of(Class::OurFault, "data length"),
        b"81" => of(Class::PinLength, "PIN length"),
        b"82" => of(Class::OurFault, "check value length"),
        b"83" => of(Class::Key, "key block format"),
        b"84" => of(Class::Key, "key block check value"),
        b"86" => of(Class::TooWeak, "PIN is in the table of excluded PINs"),
        [b'A', b'1'..=b'9' | b'A'..=b'F'] => {
            of(Class::Key, "key block: LMK, attributes or authentication")
        }
        [b'B', b'0'..=b'9' | b'A'..=b'E'] => of(Class::Key, "key block: structure"),
        b"D2" => of(Class::Key, "curve"),
        b"D3" => of(Class::Key, "key encoding"),
        b"E0" => of(Class::OurFault, "command version"),
        _ => of(Class::Unlisted, "not in the list of error codes"),
    }
}
