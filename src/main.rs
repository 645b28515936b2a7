//! Reads the command line and runs one command.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    pinion::cli::run(std::env::args_os())
}
