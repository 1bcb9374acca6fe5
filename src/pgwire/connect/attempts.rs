//! What is tried, in which order, and what an error leaves to be tried.

use std::hash::{BuildHasher, RandomState};

use crate::pgwire::conninfo::{HostSpec, SslMode};
use crate::pgwire::error::Failure;

/// Whether one attempt begins with TLS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Encryption {
    Plain,
    Tls,
}

/// The attempts that `sslmode` allows, the preferred one first. Unix sockets are never encrypted.
pub(super) fn encryptions(mode: SslMode, host: &HostSpec) -> &'static [Encryption] {
    if !host.socket_paths().is_empty() {
        return &[Encryption::Plain];
    }
    match mode {
        SslMode::Disable => &[Encryption::Plain],
        SslMode::Allow => &[Encryption::Plain, Encryption::Tls],
        SslMode::Prefer => &[Encryption::Tls, Encryption::Plain],
        SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull => &[Encryption::Tls],
    }
}

/// Whether the other kind of encryption may be let in: pg_hba.conf tells `hostssl` from `hostnossl`, and a handshake can fail.
pub(super) const fn may_differ_with_encryption(failure: &Failure) -> bool {
    matches!(failure, Failure::LoginRefused | Failure::Tls(_) | Failure::ConnectionLost(_))
}

/// Whether another server may do where this one does not. All servers of a cluster have the same roles and passwords, so a refusal for
/// these is final, as in libpq.
pub(super) const fn next_after(failure: &Failure) -> bool {
    matches!(
        failure,
        Failure::NotReached(_)
            | Failure::OtherRole { .. }
            | Failure::ConnectionLost(_)
            | Failure::Timeout(_)
            | Failure::ServerStarting
            | Failure::ServerShuttingDown
            | Failure::TooManyWalSenders
            | Failure::TooManyConnections
            | Failure::Tls(_)
    )
}

/// Puts the entries into a random order (`load_balance_hosts=random`).
pub(super) fn shuffle<T>(entries: &mut [T]) {
    let random = RandomState::new();
    for last in (1..entries.len()).rev() {
        let below = u64::try_from(last).unwrap_or(u64::MAX) + 1;
        let chosen = usize::try_from(random.hash_one(last) % below).unwrap_or(last);
        entries.swap(last, chosen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shuffling_keeps_every_entry_and_moves_some() {
        let sorted: Vec<u32> = (0..100).collect();
        let mut shuffled = sorted.clone();
        shuffle(&mut shuffled);
        assert_ne!(shuffled, sorted);
        shuffled.sort_unstable();
        assert_eq!(shuffled, sorted);
    }
}
