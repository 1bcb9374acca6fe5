//! What can be backed up: one folder per kind of resource, none knowing another.

pub mod postgres;
