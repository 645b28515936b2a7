//! iso8583

pub mod frame;
pub mod tlv;
