//! Reads the command line and runs one command.
#![forbid(unsafe_code)]
fn main() {}
