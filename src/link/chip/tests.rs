//! Chip data in, a script out, in each dialect that has them.
