//! link

pub mod tls;
