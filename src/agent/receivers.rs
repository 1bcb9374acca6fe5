//! The receivers of all clusters, and what inspects their archives: begun, ended and begun anew as the configuration says.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::inspection::Inspection;
use crate::config::{Config, Postgres};
use crate::repository::{Repository, ResourceName};
use crate::resources::postgres::archive::{self, Receiver, ReceiverStatus, Report, State, Trouble};

/// How long a task that failed rests before it is started again.
const REST: Duration = Duration::from_secs(5);

/// What is received, by cluster.
#[derive(Debug, Default)]
pub(super) struct Receivers(Mutex<BTreeMap<ResourceName, Receiving>>);

/// One cluster that is looked after, and received from where it is streamed.
#[derive(Debug)]
struct Receiving {
    section: Postgres,
    report: Report,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Receivers {
    /// What all of them say.
    pub(super) fn statuses(&self) -> Vec<ReceiverStatus> {
        let receiving = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        receiving.values().filter(|receiving| receiving.section.stream).map(|receiving| receiving.report.status()).collect()
    }

    /// Makes what is received what the configuration says: what is not there any more or has changed is ended, once what was received is
    /// stored, and what is new or has changed is begun. Must be called within the runtime.
    pub(super) fn apply(&self, config: &Config, repository: &Repository, stop: &CancellationToken) {
        let mut receiving = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted: BTreeMap<ResourceName, &Postgres> = config.clusters().collect();
        for (_, gone) in receiving.extract_if(.., |name, _| !wanted.contains_key(name)) {
            gone.stop.cancel();
        }
        for (name, section) in wanted {
            if receiving.get(&name).is_some_and(|known| known.section.receives_like(section)) {
                continue;
            }
            let before = receiving.remove(&name).map(|known| {
                known.stop.cancel();
                known.task
            });
            receiving.insert(name.clone(), begin(repository.clone(), name, section.clone(), before, stop.child_token()));
        }
    }

    /// Waits until all of them have ended.
    pub(super) async fn ended(&self) {
        loop {
            let next = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_first();
            let Some((name, receiving)) = next else { return };
            if let Err(panic) = receiving.task.await {
                tracing::error!(resource = %name, "the receiver failed: {panic}");
            }
        }
    }
}

/// Begins to receive, after the receiver before has ended: there is one slot.
fn begin(
    repository: Repository,
    resource: ResourceName,
    section: Postgres,
    before: Option<JoinHandle<()>>,
    stop: CancellationToken,
) -> Receiving {
    let report = Report::new(&resource, section.max_delay.0);
    let (shown, cluster, token) = (report.clone(), section.clone(), stop.clone());
    let inspection = Inspection {
        repository: repository.clone(),
        resource: resource.clone(),
        cluster: cluster.clone(),
        report: section.stream.then(|| report.clone()),
    };
    let task = tokio::spawn(async move {
        if let Some(before) = before {
            drop(before.await);
        }
        let inspecting = inspection.run(token.clone());
        if cluster.stream {
            tokio::join!(supervise(repository, resource, cluster, shown, token), inspecting);
        } else {
            inspecting.await;
        }
    });
    Receiving { section, report, stop, task }
}

/// Keeps the receiver of a cluster running.
async fn supervise(repository: Repository, resource: ResourceName, cluster: Postgres, report: Report, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let Some(trouble) = receive(&repository, &resource, &cluster, &report, &stop).await else { return };
        tracing::error!(%resource, hint = trouble.hint, "the receiver failed: {}", trouble.message);
        report.update(|status| {
            status.state = State::Waiting;
            status.trouble = Some(trouble);
        });
        tokio::select! {
            () = tokio::time::sleep(REST) => {}
            () = stop.cancelled() => {}
        }
    }
}

/// Runs a receiver; what it failed of, if it did not just stop.
async fn receive(
    repository: &Repository,
    resource: &ResourceName,
    cluster: &Postgres,
    report: &Report,
    stop: &CancellationToken,
) -> Option<Trouble> {
    let receiver = match Receiver::new(repository.clone(), resource.clone(), cluster, report.clone()) {
        Ok(receiver) => receiver,
        Err(error) => return Some(trouble(&error)),
    };
    let stop = stop.clone();
    let running = tokio::spawn(async move { receiver.run(&stop).await });
    running.await.err().map(|panic| Trouble::now(panic.to_string(), None))
}

fn trouble(error: &archive::Error) -> Trouble {
    Trouble::now(error.to_string(), error.hint())
}
