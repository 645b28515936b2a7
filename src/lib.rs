//! Pinion: an ISO 8583 switch for the moment a cardholder changes a PIN.
//!
//! One message, one straight line:
//!
//! ```text
//! link/  read frame ─ iso8583/ decode (borrowed) ─ link/ message → PinRequest
//!                                                         │
//!                                               switch/handle(PinRequest)
//!    dedupe: seen? → the stored answer
//!    route:  Postilion or CMS, and why
//!    CMS:    card: record and gates
//!            hsm: new block ZPK → LMK, verify current, reference of the new
//!            store: commit card + journal + audit
//!    Receipt ─ Outcome ─ link/ encode ─ write frame
//! ```
//!
//! Who may import whom, left may use right, never back: `main, cli → ops, http, link, sim → switch → route, host, card,
//! hsm → iso8583, peer, pin, tls → domain, limits`. `tests/tidy.rs` holds the table. ARCHITECTURE.md tells the rest.
#![forbid(unsafe_code)]

pub mod card;
pub mod cli;
pub mod domain;
pub mod host;
pub mod hsm;
pub mod http;
pub mod iso8583;
pub mod limits;
pub mod link;
pub mod ops;
pub mod peer;
pub mod pin;
pub mod route;
pub mod sim;
pub mod switch;
pub mod tls;
