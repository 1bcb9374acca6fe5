//! The command line: see `holdfast::cli`.

fn main() {}
