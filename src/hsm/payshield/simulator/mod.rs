//! A payShield in software over the published test LMKs, for tests of those who speak to one.
//!
//! It computes with the arithmetic of [`crate::pin`], as the software HSM does, and shares nothing else with the
//! client: `wire` is where both meet. How a real device keeps PINs under its LMK is not public, so those are its own.
//! **Never here:** production keys. Where next: `device` for what a frame is answered, `run` for each command, `server`
//! for ports and faults.

mod admin;
mod connection;
mod device;
mod fault;
mod kept;
mod key;
mod keyblock;
pub mod lmk;
mod lmk_pin;
mod mac;
mod pins;
mod random;
mod run;
mod server;
#[cfg(test)]
mod tests;
mod token;
mod wrapped;

pub use self::device::{Device, Setup};
pub use self::fault::{ErrorRule, FaultError, FaultRules};
pub use self::lmk::Kind;
pub use self::server::{Options, Running, StartError, start};
pub use self::token::token;
