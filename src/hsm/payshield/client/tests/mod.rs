//! The client against the simulated device: `bench` has both, beside a software module with the same keys.

mod bench;
mod devices;
mod drain;
mod ebcdic;
mod operations;
mod scripts;
