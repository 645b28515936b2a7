//! The words everybody uses: account numbers, encrypted PINs, the request, its outcome, the clock.
//!
//! Plain values with their rules. **Never here:** input or output, locks, an import of another module of ours.
//! No type here that carries a PAN, a PIN block or a key has `Display` or `Serialize`; `Debug` masks.

pub mod chip;
pub mod clock;
pub mod exchange;
pub mod forward;
pub mod memo;
pub mod outcome;
pub mod owner;
pub mod pan;
pub mod pin;
pub mod request;
pub mod vault;
