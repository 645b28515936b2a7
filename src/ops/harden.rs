//! What the process denies to others on its machine: core files and a debugger's look into its memory.
//!
//! Keys and PINs are in memory for microseconds; a core file would keep them. **Never here:** anything an operator
//! sets.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core files, not dumpable: only root can still look inside.
///
/// # Errors
/// As the kernel reports them. The caller goes on: an odd container is no reason to stay down.
pub fn harden() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}
