//! payShield host commands: what travels, and a device that answers them.
//!
//! Facts come from public manuals and traces of devices; where a public source is missing the code says so. **Never
//! here:** a key in the clear, but in the simulator. Where next: `wire` for bytes and structures, `client` for
//! [`crate::hsm::Hsm`] over devices, `simulator` for a device in software over the published test LMKs.

pub mod client;
pub mod simulator;
pub mod wire;
