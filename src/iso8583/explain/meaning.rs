//! What codes mean: the standard's tables and the trade's, and what the dialect's own file says.
//!
//! Sources: ISO 8583:1987, :1993 and :2003 as public field lists quote them; processing and response codes as
//! Postilion, Mastercard and Visa lists have them. A code that is not here has no note, which is no error. **Never
//! here:** rules.

use std::fmt::Write as _;

use crate::iso8583::item::Item;
use crate::iso8583::spec::Dialect;

type Table = &'static [(&'static str, &'static str)];

fn find(table: Table, code: &str) -> Option<&'static str> {
    table.iter().find(|(known, _)| *known == code).map(|(_, text)| *text)
}

/// What `text`, the value of the field at `path`, means.
pub(super) fn of(dialect: &Dialect, path: &str, text: &str) -> String {
    let known = |table: Table| find(table, text).unwrap_or_default().to_owned();
    match path {
        "3" => processing(dialect, text),
        "3.1" => transaction(dialect, text),
        "3.2" | "3.3" | "127.34" => known(ACCOUNTS),
        "7" | "90.3" => moment(text),
        "12" => local(text),
        "13" | "15" | "16" | "17" if text.len() == 4 => day(text),
        "14" if text.len() == 4 => expiry(text),
        "18" | "26" => known(MERCHANTS),
        "22" if text.len() == 3 => entry_mode(text),
        "24" => known(FUNCTIONS),
        "39" | "127.39" => response(dialect, text),
        "49" | "50" | "51" | "127.25.26" => known(CURRENCIES),
        "70" => known(NETWORK),
        "90.1" | "56.1" => text.as_bytes().try_into().map(message_type).unwrap_or_default(),
        _ => String::new(),
    }
}

pub(super) fn message_type(mti: [u8; 4]) -> String {
    let [version, class, function, origin] = mti;
    if !mti.iter().all(u8::is_ascii_digit) {
        return String::new();
    }
    let version = match version {
        b'0' => "ISO 8583:1987",
        b'1' => "ISO 8583:1993",
        b'2' => "ISO 8583:2003",
        b'8' => "national version",
        b'9' => "private version",
        _ => "unknown version",
    };
    let class = match class {
        b'1' => "authorization",
        b'2' => "financial",
        b'3' => "file action",
        b'4' => "reversal",
        b'5' => "reconciliation",
        b'6' => "administrative",
        b'7' => "fee collection",
        b'8' => "network management",
        _ => "reserved class",
    };
    let function = match function {
        b'0' => "request",
        b'1' => "response",
        b'2' => "advice",
        b'3' => "advice response",
        b'4' => "notification",
        b'5' => "notification response",
        b'6' => "instruction",
        b'7' => "instruction response",
        _ => "reserved function",
    };
    let origin = match origin {
        b'0' => "acquirer",
        b'1' => "acquirer, repeat",
        b'2' => "issuer",
        b'3' => "issuer, repeat",
        b'4' => "other",
        b'5' => "other, repeat",
        _ => "reserved origin",
    };
    format!("{version} · {class} · {function} · {origin}")
}

fn processing(dialect: &Dialect, text: &str) -> String {
    let (Some(kind), Some(from), Some(to)) = (text.get(..2), text.get(2..4), text.get(4..6)) else {
        return String::new();
    };
    let kind = transaction(dialect, kind);
    let account = |code| find(ACCOUNTS, code).unwrap_or("unknown");
    if kind.is_empty() {
        return format!("from {} account, to {} account", account(from), account(to));
    }
    format!("{kind}, from {} account, to {} account", account(from), account(to))
}

/// The dialect's own words first: it knows which code changes a PIN.
fn transaction(dialect: &Dialect, code: &str) -> String {
    let own =
        [("change", "PIN change"), ("unblock", "PIN unblock"), ("verify", "PIN verification")];
    let section = dialect.section("pin_change");
    let lists = |key: &str| {
        let items = section.and_then(|section| section.get(key)).and_then(Item::as_list);
        items.unwrap_or_default().iter().any(|item| item.as_str() == Some(code))
    };
    let own = own.iter().find(|(key, _)| lists(key)).map(|(_, text)| *text);
    own.or_else(|| find(TRANSACTIONS, code)).unwrap_or_default().to_owned()
}

pub(super) fn response(dialect: &Dialect, code: &str) -> String {
    let general = match code.len() {
        2 => find(RESPONSES_1987, code),
        3 => find(RESPONSES_1993, code),
        _ => find(RESPONSES_2003, code),
    };
    let mut here: Vec<String> = Vec::new();
    for (key, item) in dialect.section("responses").into_iter().flat_map(Item::entries) {
        if item.as_str() == Some(code) && !key.starts_with("approved_") {
            here.push(
                key.replace('_', " ")
                    .replace("pin", "PIN")
                    .replace("hsm", "HSM")
                    .replace("mac ", "MAC "),
            );
        }
    }
    let here = here.join(" or ");
    match (general, here.as_str()) {
        (Some(general), "") => general.to_owned(),
        (Some(general), here) if general == here => here.to_owned(),
        (Some(general), here) => format!("{general}; this switch: {here}"),
        (None, here) => here.to_owned(),
    }
}

fn number(text: &str) -> Option<u8> {
    text.parse().ok().filter(|_| text.bytes().all(|byte| byte.is_ascii_digit()))
}

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// MMDD.
fn day(text: &str) -> String {
    let month = text.get(..2).and_then(number);
    let day = text.get(2..4).and_then(number).filter(|day| (1..=31).contains(day));
    let name = month.and_then(|month| MONTHS.get(usize::from(month).checked_sub(1)?));
    match (day, name) {
        (Some(day), Some(month)) => format!("{day} {month}"),
        _ => "no date".into(),
    }
}

/// hhmmss.
fn time(text: &str) -> String {
    let part = |at: usize| text.get(at..at + 2).and_then(number);
    match (part(0), part(2), part(4)) {
        (Some(hour @ 0..=23), Some(minute @ 0..=59), Some(second @ 0..=60)) => {
            format!("{hour:02}:{minute:02}:{second:02}")
        }
        _ => "no time".into(),
    }
}

/// `MMDDhhmmss` in universal time.
fn moment(text: &str) -> String {
    match (text.get(..4), text.get(4..10)) {
        (Some(date), Some(clock)) => format!("{} {} UTC", day(date), time(clock)),
        _ => String::new(),
    }
}

/// `hhmmss` in 1987, `YYMMDDhhmmss` in 1993, with the century in 2003.
fn local(text: &str) -> String {
    let split = match text.len() {
        6 => return time(text),
        12 => text.split_at_checked(2),
        14 => text.split_at_checked(4),
        _ => None,
    };
    match split {
        Some((year, rest)) => {
            let (date, clock) = rest.split_at_checked(4).unwrap_or_default();
            format!("{} {year} {}", day(date), time(clock))
        }
        None => String::new(),
    }
}

/// YYMM.
fn expiry(text: &str) -> String {
    let month = text.get(2..4).and_then(number);
    match month.and_then(|month| MONTHS.get(usize::from(month).checked_sub(1)?)) {
        Some(month) => format!("{month} 20{}", text.get(..2).unwrap_or_default()),
        None => "no date".into(),
    }
}

fn entry_mode(text: &str) -> String {
    let pan = find(ENTRY_MODES, text.get(..2).unwrap_or_default()).unwrap_or("unknown entry");
    let mut note = pan.to_owned();
    let pin = match text.get(2..) {
        Some("1") => "can take a PIN",
        Some("2") => "cannot take a PIN",
        Some("8") => "PIN pad out of order",
        _ => return note,
    };
    // Writing to a text cannot fail.
    let _ = write!(note, ", {pin}");
    note
}

const ENTRY_MODES: Table = &[
    ("00", "entry mode unspecified"),
    ("01", "PAN typed in"),
    ("02", "magnetic stripe"),
    ("03", "bar code"),
    ("05", "chip"),
    ("07", "contactless chip"),
    ("10", "credential on file"),
    ("79", "chip fallback, typed in"),
    ("80", "chip fallback, magnetic stripe"),
    ("81", "electronic commerce"),
    ("90", "whole magnetic stripe"),
    ("91", "contactless stripe"),
    ("95", "chip, CVV unreliable"),
];

const TRANSACTIONS: Table = &[
    ("00", "purchase"),
    ("01", "cash withdrawal"),
    ("02", "debit adjustment"),
    ("09", "purchase with cash back"),
    ("20", "return"),
    ("21", "deposit"),
    ("22", "credit adjustment"),
    ("30", "available funds inquiry"),
    ("31", "balance inquiry"),
    ("35", "full statement"),
    ("37", "card verification inquiry"),
    ("38", "mini statement"),
    ("39", "linked accounts inquiry"),
    ("40", "transfer"),
    ("50", "payment"),
    ("81", "key exchange"),
    ("90", "place hold on card"),
    ("91", "general administration"),
    ("92", "PIN change"),
    ("93", "general administration, dead end"),
    ("99", "network management"),
];

const ACCOUNTS: Table = &[
    ("00", "default"),
    ("10", "savings"),
    ("20", "cheque"),
    ("30", "credit"),
    ("40", "universal"),
    ("50", "investment"),
    ("60", "purse"),
    ("91", "mortgage"),
    ("92", "instalment"),
];

const MERCHANTS: Table = &[
    ("5411", "grocery stores"),
    ("6010", "cash at a bank counter"),
    ("6011", "ATM"),
    ("6012", "financial institution, goods and services"),
];

/// Fields 49 to 51, ISO 4217 numeric.
const CURRENCIES: Table = &[
    ("036", "AUD"),
    ("124", "CAD"),
    ("156", "CNY"),
    ("170", "COP"),
    ("344", "HKD"),
    ("356", "INR"),
    ("392", "JPY"),
    ("404", "KES"),
    ("484", "MXN"),
    ("566", "NGN"),
    ("643", "RUB"),
    ("682", "SAR"),
    ("702", "SGD"),
    ("710", "ZAR"),
    ("756", "CHF"),
    ("784", "AED"),
    ("826", "GBP"),
    ("840", "USD"),
    ("936", "GHS"),
    ("949", "TRY"),
    ("978", "EUR"),
    ("980", "UAH"),
    ("985", "PLN"),
    ("986", "BRL"),
];

/// Field 70 of the 1987 family.
const NETWORK: Table = &[
    ("001", "sign-on"),
    ("002", "sign-off"),
    ("003", "target system unavailable"),
    ("101", "key change"),
    ("102", "security alert"),
    ("161", "key change"),
    ("162", "key request"),
    ("201", "cut-over begins"),
    ("202", "cut-over complete"),
    ("301", "echo test"),
];

/// Field 24 of 1993 and 2003.
const FUNCTIONS: Table = &[
    ("100", "original authorization"),
    ("108", "inquiry"),
    ("113", "account verification"),
    ("200", "original financial request"),
    ("309", "card administration"),
    ("400", "full reversal"),
    ("801", "sign-on"),
    ("802", "sign-off"),
    ("811", "key change"),
    ("831", "echo test"),
];

const RESPONSES_1987: Table = &[
    ("00", "approved"),
    ("01", "refer to issuer"),
    ("03", "invalid merchant"),
    ("04", "pick up card"),
    ("05", "do not honor"),
    ("06", "error"),
    ("08", "honor with identification"),
    ("12", "invalid transaction"),
    ("13", "invalid amount"),
    ("14", "invalid card number"),
    ("15", "no such issuer"),
    ("20", "invalid response"),
    ("25", "unable to locate record"),
    ("30", "format error"),
    ("31", "bank not supported"),
    ("38", "PIN tries exceeded, pick up"),
    ("39", "no credit account"),
    ("40", "function not supported"),
    ("41", "lost card"),
    ("43", "stolen card"),
    ("45", "account closed"),
    ("51", "not sufficient funds"),
    ("52", "no cheque account"),
    ("53", "no savings account"),
    ("54", "expired card"),
    ("55", "incorrect PIN"),
    ("56", "no card record"),
    ("57", "not permitted to cardholder"),
    ("58", "not permitted to terminal"),
    ("59", "suspected fraud"),
    ("61", "exceeds amount limit"),
    ("62", "restricted card"),
    ("63", "security violation"),
    ("65", "exceeds frequency limit"),
    ("68", "response received too late"),
    ("75", "PIN tries exceeded"),
    ("81", "PIN cryptographic error"),
    ("85", "no reason to decline"),
    ("86", "PIN validation not possible"),
    ("88", "cryptographic failure"),
    ("89", "unacceptable PIN"),
    ("90", "cut-off in progress"),
    ("91", "issuer or switch inoperative"),
    ("92", "routing error"),
    ("93", "violation of law"),
    ("94", "duplicate transaction"),
    ("96", "system malfunction"),
    ("C0", "unacceptable PIN"),
    ("C1", "PIN change failed"),
    ("C2", "PIN unblock failed"),
    ("D1", "MAC error"),
    ("P5", "PIN change or unblock declined"),
    ("P6", "unsafe PIN"),
];

const RESPONSES_1993: Table = &[
    ("000", "approved"),
    ("100", "do not honor"),
    ("101", "expired card"),
    ("104", "restricted card"),
    ("106", "PIN tries exceeded"),
    ("111", "invalid card number"),
    ("112", "PIN data required"),
    ("116", "not sufficient funds"),
    ("117", "incorrect PIN"),
    ("118", "no card record"),
    ("119", "not permitted to cardholder"),
    ("120", "not permitted to terminal"),
    ("123", "exceeds frequency limit"),
    ("126", "invalid PIN block"),
    ("127", "PIN length error"),
    ("128", "PIN key synchronization error"),
    ("181", "PIN change required"),
    ("182", "new PIN invalid"),
    ("206", "PIN tries exceeded, pick up"),
    ("208", "lost card"),
    ("209", "stolen card"),
    ("400", "reversal accepted"),
    ("800", "network management accepted"),
    ("902", "invalid transaction"),
    ("904", "format error"),
    ("907", "issuer or switch inoperative"),
    ("908", "no such issuer"),
    ("909", "system malfunction"),
    ("911", "issuer timed out"),
    ("912", "issuer unavailable"),
    ("913", "duplicate transaction"),
    ("914", "unable to locate record"),
    ("916", "MAC error"),
    ("921", "security module error"),
];

const RESPONSES_2003: Table = &[
    ("0000", "approved"),
    ("1000", "do not honor"),
    ("1001", "expired card"),
    ("1004", "restricted card"),
    ("1006", "PIN tries exceeded"),
    ("1011", "invalid card number"),
    ("1017", "incorrect PIN"),
    ("1018", "no card record"),
    ("1019", "not permitted to cardholder"),
    ("1020", "not permitted to terminal"),
    ("1023", "exceeds frequency limit"),
    ("1048", "new PIN invalid"),
    ("1802", "format error"),
    ("1816", "unable to locate record"),
    ("9107", "issuer or switch inoperative"),
];
