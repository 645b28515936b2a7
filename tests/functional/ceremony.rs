//! Keys that custodians type at a terminal: what it shows, what is kept, how it is left.
//!
//! A pseudo terminal needs more than a test in Rust without `unsafe` has, so `ceremony.py` types; its check values are
//! by psec. **Never here:** components from files, which the command's own tests have.

use std::path::Path;
use std::process::Command;

#[test]
fn custodians_at_a_terminal() {
    let directory = tempfile::tempdir().expect("a directory");
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/venv/bin/python3");
    let python = if python.exists() { python } else { "python3".into() };
    let output = Command::new(python)
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/functional/ceremony.py"))
        .args([env!("CARGO_BIN_EXE_pinion").as_ref(), directory.path()])
        .output()
        .expect("python: `make test` installs psec");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert_eq!(text.matches("ok ").count(), 9, "{text}{errors}");
}
