//! Simulated far ends: the demo world, and a terminal that asks for PIN changes.
//!
//! **Never here:** what the switch decides. Where next: `world` for keys and cards, `terminal` for messages.

pub mod pin_pad;
pub mod request;
pub mod terminal;
pub mod world;
