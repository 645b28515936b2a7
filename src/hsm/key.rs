//! Keys: types, check values, the sealed file.
