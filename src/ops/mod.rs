//! What an operator sees and sets: configuration, metrics, logs, health, the admin endpoints.
//!
//! **Never here:** card data in any form; a decision about a request. Where next: `config` for the file the switch
//! is started with, `metrics` for the catalogue of metrics, `admin` for what listens on the admin port.

pub mod admin;
pub mod config;
pub mod harden;
pub mod health;
pub mod metrics;
pub mod telemetry;
