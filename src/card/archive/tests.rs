//! An archive: written, read, damaged.
