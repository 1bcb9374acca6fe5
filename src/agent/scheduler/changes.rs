//! What is backed up when it changes: the watch on one resource.

use futures_util::future::BoxFuture;
use jiff::Timestamp;

use crate::config::{Config, OnChange};
use crate::repository::ResourceName;
use crate::resources;
use crate::sys::clock;

/// How long to rest where a watch cannot begin.
const TROUBLE: std::time::Duration = std::time::Duration::from_secs(30);

/// The watch on one resource. A resource that is not backed up on change has none, and nothing is ever noticed of it.
#[derive(Default)]
pub(super) struct Changes {
    watch: Option<BoxFuture<'static, ()>>,
    /// Whether it was looked at since the agent, or this configuration, began.
    begun: bool,
}

impl Changes {
    /// Sees that it is watched; and that it is looked at once in the beginning, since something may have changed while nobody watched:
    /// `noticed` is then set.
    pub(super) async fn follow(&mut self, config: &Config, resource: &ResourceName, noticed: &mut Option<Timestamp>) {
        let Some(on_change) = config.upkeep(resource).and_then(|upkeep| upkeep.on_change) else {
            (*self, *noticed) = (Self::default(), None);
            return;
        };
        if self.watch.is_none() {
            self.watch = Some(begin(config, resource, on_change).await);
        }
        if !std::mem::replace(&mut self.begun, true) {
            noticed.get_or_insert_with(clock::now);
        }
    }

    /// Begins anew: the configuration may say otherwise now.
    pub(super) fn reset(&mut self) {
        *self = Self::default();
    }

    /// Waits for a change. The next watch has to begin before the resource is looked at.
    pub(super) async fn next(&mut self) {
        match &mut self.watch {
            Some(watch) => watch.await,
            None => std::future::pending().await,
        }
        self.watch = None;
    }
}

async fn begin(config: &Config, resource: &ResourceName, on_change: OnChange) -> BoxFuture<'static, ()> {
    let failed = match on_change {
        OnChange::Every(every) => return Box::pin(tokio::time::sleep(every.0)),
        OnChange::AtOnce => match resources::find(config, Some(resource)) {
            Ok(found) => match found.watch().await {
                Ok(watch) => return watch,
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        },
    };
    tracing::warn!(%resource, "it cannot be watched, and is looked at again in {} s: {failed}", TROUBLE.as_secs());
    Box::pin(tokio::time::sleep(TROUBLE))
}
