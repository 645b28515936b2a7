//! iso8583

pub mod frame;
