//! payShield host commands: what travels, and a device that answers them.
//!
//! Facts come from public manuals and traces of devices; where a public source is missing the code says so. **Never
//! here:** the trait [`crate::hsm::Hsm`] itself. Where next: `wire` for bytes and structures, `simulator` for a device
//! in software over the published test LMKs.

pub mod simulator;
pub mod wire;
