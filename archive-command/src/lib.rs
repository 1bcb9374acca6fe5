//! The shim protocol.
