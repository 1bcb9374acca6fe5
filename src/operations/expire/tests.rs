//! The laws of retention, on random histories of a cluster; and single rules by example.

mod clock;
mod held;
mod laws;
mod rules;
mod shared;
mod store;
mod world;
