//! Simulated far ends: the demo world, a terminal that asks for PIN changes, a Postilion that makes them.
//!
//! **Never here:** what the switch decides. Where next: `world` for keys and cards, `terminal` for messages,
//! `postilion` for the host.

pub mod dukpt;
pub mod pin_pad;
pub mod postilion;
pub mod request;
pub mod terminal;
pub mod world;
