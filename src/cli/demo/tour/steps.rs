//! The tour as a table: what is asked where, and the answer it must get.
//!
//! Every change is taken back, so that the demo's cards are afterwards what the README says they are. **Never here:**
//! sockets, output.

/// One thing to ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    /// From the current PIN to a new one.
    Change(&'static [u8], &'static [u8]),
    /// Are you there.
    Echo,
    /// The last change on this link once more, as its repeat.
    Repeat,
    /// Take the last change on this link back.
    Reverse,
    /// Let the card's PIN be tried again.
    Unblock,
    /// Whether a PIN is right.
    Verify(&'static [u8]),
    /// The same under a MAC that was made with another key.
    VerifyWrongMac(&'static [u8]),
}

/// A question and the response code it must get.
#[derive(Clone, Copy, Debug)]
pub(super) struct Step {
    /// The link's name in the configuration.
    pub(super) link: &'static str,
    /// A card of the demo world.
    pub(super) pan: &'static [u8],
    /// What is asked.
    pub(super) ask: Ask,
    /// The expected DE 39.
    pub(super) want: &'static str,
    /// What it shows.
    pub(super) what: &'static str,
}

/// Steps under one title.
#[derive(Clone, Copy, Debug)]
pub(super) struct Chapter {
    /// One line.
    pub(super) title: &'static str,
    /// In order.
    pub(super) steps: &'static [Step],
}

/// The plain case; blocked; expired; lost; chip, PIN kept under the LMK; IBM offset, PIN of five digits; lives at
/// Postilion.
pub(super) const PLAIN: &[u8] = b"4761739001010010";
const BLOCKED: &[u8] = b"4761739001010028";
const EXPIRED: &[u8] = b"4761739001010036";
const LOST: &[u8] = b"4761739001010101";
const CHIP: &[u8] = b"5413330089010012";
const OFFSET: &[u8] = b"5413340089010011";
const VERVE: &[u8] = b"5060990000000151002";

const ATM: &str = "atm-1";
const ACQUIRER: &str = "acquirer-1";
const POSTILION: &str = "postilion-in";
const VOICE: &str = "vcr-1";

const fn step(
    link: &'static str,
    pan: &'static [u8],
    ask: Ask,
    want: &'static str,
    what: &'static str,
) -> Step {
    Step { link, pan, ask, want, what }
}

/// Everything, in order.
#[rustfmt::skip]
pub(super) const CHAPTERS: &[Chapter] = {
    use Ask::{Change, Echo, Repeat, Reverse, Unblock, Verify, VerifyWrongMac};
    &[
        Chapter { title: "A cardholder changes the PIN at an ATM", steps: &[
            step(ATM, PLAIN, Change(b"1234", b"2580"), "00", "change"),
        ]},
        Chapter { title: "The new PIN is right", steps: &[
            step(ATM, PLAIN, Verify(b"2580"), "00", "verify the new PIN"),
        ]},
        Chapter { title: "The old PIN is wrong", steps: &[
            step(ATM, PLAIN, Verify(b"1234"), "55", "verify the old PIN"),
        ]},
        Chapter { title: "A repeat gets the stored answer and changes nothing", steps: &[
            step(ATM, PLAIN, Repeat, "00", "repeat of the change"),
            step(ATM, PLAIN, Verify(b"2580"), "00", "verify the new PIN"),
        ]},
        Chapter { title: "A reversal puts the old PIN back", steps: &[
            step(ATM, PLAIN, Reverse, "00", "reversal of the change"),
            step(ATM, PLAIN, Verify(b"1234"), "00", "verify the old PIN"),
        ]},
        Chapter { title: "Refusals", steps: &[
            step(ATM, BLOCKED, Change(b"4321", b"2580"), "62", "blocked card"),
            step(ATM, EXPIRED, Change(b"1234", b"2580"), "54", "expired card"),
            step(ATM, LOST, Change(b"1234", b"2580"), "41", "lost card"),
            step(ATM, PLAIN, Change(b"1234", b"5678"), "89", "weak new PIN"),
            step(ATM, OFFSET, Verify(b"24680"), "55", "wrong PIN, first time"),
            step(ATM, OFFSET, Verify(b"24680"), "55", "wrong PIN, second time"),
            step(ATM, OFFSET, Verify(b"24680"), "55", "wrong PIN, third time"),
            step(ATM, OFFSET, Verify(b"13579"), "75", "right PIN, tries used up"),
            step(ATM, OFFSET, Unblock, "00", "unblock"),
            step(VOICE, CHIP, Change(b"2580", b"1379"), "58", "chip card through voice response"),
        ]},
        Chapter { title: "An echo test", steps: &[
            step(ATM, PLAIN, Echo, "00", "echo"),
        ]},
        Chapter { title: "Another bank's switch: packed digits, MAC", steps: &[
            step(ACQUIRER, PLAIN, Change(b"1234", b"2580"), "00", "change"),
            step(ACQUIRER, PLAIN, VerifyWrongMac(b"2580"), "63", "wrong MAC"),
            step(ACQUIRER, PLAIN, Reverse, "00", "reversal"),
        ]},
        Chapter { title: "A Postilion node sends a change here: 0600, new PIN in DE 53", steps: &[
            step(POSTILION, PLAIN, Change(b"1234", b"2580"), "00", "change"),
            step(POSTILION, PLAIN, Reverse, "00", "reversal"),
        ]},
        Chapter { title: "A voice-response unit", steps: &[
            step(VOICE, PLAIN, Change(b"1234", b"2580"), "00", "change"),
            step(VOICE, PLAIN, Reverse, "00", "reversal"),
        ]},
        Chapter { title: "Other ways to keep a PIN: IBM 3624 offset, PIN under the LMK", steps: &[
            step(ATM, OFFSET, Change(b"13579", b"24680"), "00", "IBM offset, five digits"),
            step(ATM, OFFSET, Verify(b"24680"), "00", "verify"),
            step(ATM, OFFSET, Reverse, "00", "reversal"),
            step(ATM, CHIP, Change(b"2580", b"1379"), "00", "PIN under the LMK, chip card"),
            step(ATM, CHIP, Verify(b"1379"), "00", "verify"),
            step(ATM, CHIP, Reverse, "00", "reversal"),
        ]},
        Chapter { title: "A card that lives at Postilion: forwarded to one of two nodes", steps: &[
            step(POSTILION, VERVE, Change(b"1111", b"2580"), "00", "change at a node"),
            step(POSTILION, VERVE, Repeat, "00", "repeat, answered from the journal"),
            step(ATM, VERVE, Change(b"1111", b"2580"), "55", "the old PIN, refused by a node"),
            step(ATM, VERVE, Change(b"2580", b"2580"), "C0", "the same PIN, refused by a node"),
            step(POSTILION, VERVE, Reverse, "00", "reversal, to be sent to a node"),
        ]},
    ]
};
