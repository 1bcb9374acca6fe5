//! A lease that is renewed while it is held.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::claim::Lease;
use super::{LeaseName, StoreClock};
use crate::repository::{Error, Result};

/// A lease that a task of its own renews. Dropped, it is renewed no more, and ends when it gets too old.
#[derive(Debug)]
pub struct HeldLease {
    name: LeaseName,
    lease: Arc<Mutex<Lease>>,
    lost: CancellationToken,
    renewing: JoinHandle<()>,
}

impl Lease {
    /// Keeps it renewed from now on.
    #[must_use]
    pub fn keep(self) -> HeldLease {
        let (name, every, lost) = (self.name().clone(), self.duration() / 4, CancellationToken::new());
        let lease = Arc::new(Mutex::new(self));
        let renewing = tokio::spawn(renew(Arc::clone(&lease), every, lost.clone()));
        HeldLease { name, lease, lost, renewing }
    }
}

async fn renew(lease: Arc<Mutex<Lease>>, every: Duration, lost: CancellationToken) {
    let mut complained = false;
    loop {
        tokio::time::sleep(every).await;
        match lease.lock().await.renew().await {
            Ok(()) => complained = false,
            Err(error @ Error::LeaseLost { .. }) => {
                tracing::warn!("{error}");
                return lost.cancel();
            }
            Err(error) if !std::mem::replace(&mut complained, true) => {
                tracing::warn!("a lease could not be renewed, trying again: {error}");
            }
            Err(_) => {}
        }
    }
}

impl HeldLease {
    /// Its name.
    #[must_use]
    pub const fn name(&self) -> &LeaseName {
        &self.name
    }

    /// Cancelled when somebody has taken it over or broken it.
    #[must_use]
    pub const fn lost(&self) -> &CancellationToken {
        &self.lost
    }

    /// The store's clock, as it was read at the last renewal.
    pub async fn clock(&self) -> StoreClock {
        *self.lease.lock().await.clock()
    }

    /// Makes sure that it is still ours, now.
    ///
    /// # Errors
    /// As `Lease::renew`.
    pub async fn confirm(&self) -> Result<()> {
        self.lease.lock().await.renew().await
    }

    /// Gives it back. Where that fails, it ends when it gets too old.
    pub async fn release(self) {
        if let Some(lease) = self.stop().await
            && let Err(error) = lease.release().await
        {
            tracing::warn!("a lease could not be given back, and ends by itself: {error}");
        }
    }

    /// Leaves it behind for so long.
    ///
    /// # Errors
    /// As `Lease::renew`.
    pub async fn leave_for(self, lease: Duration) -> Result<()> {
        match self.stop().await {
            Some(held) => held.leave_for(lease).await,
            None => Ok(()),
        }
    }

    /// Ends the renewing between two renewals, not within one.
    async fn stop(mut self) -> Option<Lease> {
        let lease = {
            let _between = self.lease.lock().await;
            self.renewing.abort();
            Arc::clone(&self.lease)
        };
        // The task's own share goes with it.
        drop((&mut self.renewing).await);
        drop(self);
        Arc::try_unwrap(lease).ok().map(Mutex::into_inner)
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
