//! The software HSM.
