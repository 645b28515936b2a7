//! Each gate once, against the cards of the demo world, and the order of the gates.

use crate::card::embedded::tests::card;
use crate::card::gates::check;
use crate::card::product::Product;
use crate::card::record::{AccountStatus, AccountType, CardRecord, CardStatus, ProductKey};
use crate::domain::clock::WallMillis;
use crate::domain::outcome::Reason;
use crate::domain::pin::{LmkPin, Method, PinRules, Reference};
use crate::domain::request::{Channel, Operation};

/// 2026-11-22 12:00 UTC.
const TODAY: WallMillis = WallMillis(1_795_348_800_000);
const CHANNELS: [Channel; 6] = [
    Channel::Atm,
    Channel::Bank,
    Channel::CallCentre,
    Channel::FraudDesk,
    Channel::VoiceResponse,
    Channel::Web,
];

fn product() -> Product {
    Product {
        name: "visa-debit".into(),
        key: ProductKey { organization: 600, logo: 1 },
        bin: "476173".into(),
        chip: false,
        issuer_script: None,
        method: Method::LmkPin,
        rules: PinRules::default(),
        tries_max: 3,
        changes_per_day_max: None,
        allow_set: true,
        recoverable: false,
    }
}

#[track_caller]
fn check_all(what: &str, card: &CardRecord, product: &Product, want: [Result<(), Reason>; 5]) {
    for (operation, want) in Operation::ALL.into_iter().zip(want) {
        let got = check(card, product, operation, Channel::Atm, TODAY);
        assert_eq!(got, want, "{what}, {operation:?}");
    }
}

/// One line for each refusal of `tests/world/world.json`; columns are change, reverse, unblock, verify,
/// set.
#[test]
fn each_state_of_the_demo_world() {
    let all = |reason| [Err(reason); 5];
    let with = |edit: fn(&mut CardRecord)| {
        let mut card = card(1, 0);
        edit(&mut card);
        card
    };
    let ok = [Ok(()); 5];
    let tries = Err(Reason::TriesExceeded);
    for (what, card, want) in [
        ("the plain case", with(|_| ()), ok),
        ("blocked", with(|c| c.status = CardStatus::Blocked), all(Reason::CardBlocked)),
        ("expired", with(|c| c.expiry = 2001), all(Reason::CardExpired)),
        (
            "not activated",
            with(|c| c.status = CardStatus::NotActivated),
            all(Reason::CardNotActivated),
        ),
        ("suppressed", with(|c| c.pin_suppressed = true), all(Reason::PinSuppressed)),
        ("tries exceeded", with(|c| c.pin_tries_used = 3), [tries, Ok(()), Ok(()), tries, Ok(())]),
        ("one try left", with(|c| c.pin_tries_used = 2), ok),
        (
            "tries counted past the bound",
            with(|c| c.pin_tries_used = 255),
            [tries, Ok(()), Ok(()), tries, Ok(())],
        ),
        (
            "account blocked",
            with(|c| c.account_status = AccountStatus::Blocked),
            all(Reason::AccountBlocked),
        ),
        (
            "account not allowed",
            with(|c| c.account_status = AccountStatus::NotAllowed),
            all(Reason::AccountStatus),
        ),
        (
            "account type",
            with(|c| c.account_type = AccountType::NotAllowed),
            all(Reason::AccountType),
        ),
        ("closed", with(|c| c.status = CardStatus::Closed), all(Reason::CardClosed)),
        ("lost", with(|c| c.status = CardStatus::Lost), all(Reason::CardLost)),
        ("stolen", with(|c| c.status = CardStatus::Stolen), all(Reason::CardStolen)),
        ("good to the end of its month", with(|c| c.expiry = 2611), ok),
        ("good until last month", with(|c| c.expiry = 2610), all(Reason::CardExpired)),
    ] {
        check_all(what, &card, &product(), want);
    }
}

/// Name, what closes the gate, what is told then.
type Step = (&'static str, fn(&mut CardRecord), Reason);

/// A refusal must not depend on a guess: the try counter is asked last, what is wrong for good first.
#[test]
fn the_first_closed_gate_is_told() {
    let mut card = card(1, 0);
    card.pin_tries_used = 3;
    let steps: [Step; 6] = [
        ("tries", |_| (), Reason::TriesExceeded),
        ("suppressed", |c| c.pin_suppressed = true, Reason::PinSuppressed),
        ("type", |c| c.account_type = AccountType::NotAllowed, Reason::AccountType),
        ("account", |c| c.account_status = AccountStatus::Blocked, Reason::AccountBlocked),
        ("expiry", |c| c.expiry = 2001, Reason::CardExpired),
        ("status", |c| c.status = CardStatus::Lost, Reason::CardLost),
    ];
    for (what, close, want) in steps {
        close(&mut card);
        let got = check(&card, &product(), Operation::Change, Channel::Atm, TODAY);
        assert_eq!(got, Err(want), "{what} closed too");
    }
}

#[test]
fn a_chip_card_changes_only_where_its_chip_is_reached() {
    let chip = Product { chip: true, ..product() };
    for channel in CHANNELS {
        let reached = matches!(channel, Channel::Atm | Channel::Bank);
        let want = if reached { Ok(()) } else { Err(Reason::ChannelNotAllowed) };
        let got = check(&card(1, 0), &chip, Operation::Change, channel, TODAY);
        assert_eq!(got, want, "{channel:?}");
        let verify = check(&card(1, 0), &chip, Operation::Verify, channel, TODAY);
        assert_eq!(verify, Ok(()), "verifying needs no script: {channel:?}");
        let plain = check(&card(1, 0), &product(), Operation::Change, channel, TODAY);
        assert_eq!(plain, Ok(()), "no chip: {channel:?}");
    }
}

#[test]
fn a_set_passes_the_gates_of_a_change_but_the_tries() {
    let set = |card: &CardRecord, product: &Product, channel| {
        check(card, product, Operation::Set, channel, TODAY)
    };
    let spent = CardRecord { pin_tries_used: 3, ..card(1, 0) };
    assert_eq!(set(&spent, &product(), Channel::Web), Ok(()));
    let forbidden = Product { allow_set: false, ..product() };
    assert_eq!(set(&card(1, 0), &forbidden, Channel::Atm), Err(Reason::NotSupported));
    let chip = Product { chip: true, ..product() };
    assert_eq!(set(&card(1, 0), &chip, Channel::Web), Err(Reason::ChannelNotAllowed));
    let once = Product { changes_per_day_max: Some(1), ..product() };
    let changed = CardRecord { changes: 1, changes_day: TODAY.day(), ..card(1, 0) };
    assert_eq!(set(&changed, &once, Channel::Atm), Err(Reason::TooManyChanges));
    let lost = CardRecord { status: CardStatus::Lost, ..card(1, 0) };
    assert_eq!(set(&lost, &forbidden, Channel::Atm), Err(Reason::CardLost), "the card comes first");
}

#[test]
fn a_pin_is_revealed_where_it_is_kept_for_that() {
    let keeps = Product { recoverable: true, ..product() };
    let pin = Reference::Lmk(LmkPin([1; 16]));
    let not = Err(Reason::NotRecoverable);
    for (product, reference, want) in [
        (&keeps, pin, Ok(())),
        (&product(), pin, not),
        (&keeps, Reference::Pvv(*b"8034"), not),
        (&keeps, Reference::Offset { digits: [0; 12], len: 4 }, not),
        (&keeps, Reference::None, not),
    ] {
        let card = CardRecord { reference, pin_tries_used: 3, ..card(1, 0) };
        let got = check(&card, product, Operation::Reveal, Channel::Web, TODAY);
        assert_eq!(got, want, "{reference:?}");
    }
    let blocked = CardRecord { status: CardStatus::Blocked, reference: pin, ..card(1, 0) };
    let got = check(&blocked, &keeps, Operation::Reveal, Channel::Web, TODAY);
    assert_eq!(got, Err(Reason::CardBlocked));
}

#[test]
fn changes_are_counted_by_day() {
    let product = Product { changes_per_day_max: Some(2), ..product() };
    let refused = Err(Reason::TooManyChanges);
    for (day, changes, want) in [
        (TODAY.day(), 1, Ok(())),
        (TODAY.day(), 2, refused),
        (TODAY.day(), 255, refused),
        (TODAY.day() - 1, 2, Ok(())),
        (0, 0, Ok(())),
    ] {
        let card = CardRecord { changes, changes_day: day, ..card(1, 0) };
        let got = check(&card, &product, Operation::Change, Channel::Atm, TODAY);
        assert_eq!(got, want, "{changes} changes on day {day}");
    }
}

/// Month boundaries, with dates from `date -u -d`: the expiry gate has its own calendar.
#[test]
fn the_calendar_of_the_expiry_gate() {
    for (seconds, year_month) in [
        (1_709_164_800, 2402), // 2024-02-29 00:00
        (1_709_251_199, 2402), // 2024-02-29 23:59:59
        (1_709_251_200, 2403), // 2024-03-01 00:00
        (1_767_225_599, 2512), // 2025-12-31 23:59:59
        (1_767_225_600, 2601), // 2026-01-01 00:00
        (4_102_444_799, 9912), // 2099-12-31 23:59:59
    ] {
        let at = |expiry| {
            let card = CardRecord { expiry, ..card(1, 0) };
            let wall = WallMillis(seconds * 1000);
            check(&card, &product(), Operation::Verify, Channel::Atm, wall)
        };
        assert_eq!(at(year_month), Ok(()), "at {seconds}");
        assert_eq!(at(year_month - 1), Err(Reason::CardExpired), "at {seconds}");
    }
}
