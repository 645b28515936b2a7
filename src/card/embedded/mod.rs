//! The embedded store: fjall in one directory.
