//! `holdfast init`: creates the repository and the replication slots; safe to repeat.

use clap::Args;
use serde::Serialize;

use super::exit::Failure;
use super::{Context, Outcome, context, exit};
use crate::operations::prepare::{Prepared, prepare_cluster};
use crate::repository::{NewLineage, Repository, Stored};
use crate::storage::probe::{self, Verdict};

/// A new repository for a cluster that was streamed before: the old one may only be out of sight.
const SLOT_WITHOUT_REPOSITORY: &str = "WARNING: this repository is new, but the replication slot was there already. If the cluster had a \
repository here before, it is not mounted, or the url has changed: WAL stored from now on would be missing there. Then stop, remove \
this new repository, and bring the old one back.";

/// What `init` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Accept a cluster with another system identifier under a known name (after pg_upgrade or a new initdb)
    #[arg(long)]
    new_lineage: bool,
}

/// What `init` did.
#[derive(Serialize)]
struct Report {
    repository: String,
    created: bool,
    store: Vec<probe::Finding>,
    clusters: Vec<Prepared>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let config = context.config()?;
    let store = context::create_store(&config).await?;
    let url = store.url();
    let probed = probe::run(&store).await?;
    if !probed.is_usable() {
        return Err(unusable(&probed));
    }
    let (repository, stored) = Repository::create(store, config.repository.compression).await?;
    let repository = repository.with_encryption(context::encryption(&config));
    let rule = if options.new_lineage { NewLineage::Allowed } else { NewLineage::OnlyFirst };
    let mut clusters = Vec::new();
    for (resource, cluster) in config.clusters() {
        clusters.push(prepare_cluster(&repository, &resource, cluster, rule).await?);
    }
    let report = Report { repository: url, created: stored == Stored::New, store: probed.findings, clusters };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

impl Report {
    fn text(&self) -> String {
        let mut lines = vec![format!("repository {} {}", self.repository, done(self.created))];
        lines.extend(self.store.iter().map(finding));
        for cluster in &self.clusters {
            let Prepared { resource, system_id, server_version, new, slot } = cluster;
            lines.push(format!("{resource} {}: system identifier {system_id}, PostgreSQL {server_version}", done(*new)));
            lines.extend(slot.iter().map(|slot| format!("{resource} replication slot '{}' {}", slot.name, done(slot.created))));
        }
        if self.created && self.clusters.iter().any(|cluster| cluster.slot.as_ref().is_some_and(|slot| !slot.created)) {
            lines.push(SLOT_WITHOUT_REPOSITORY.to_owned());
        }
        lines.push("next: start 'holdfast agent', then 'holdfast backup'".to_owned());
        lines.join("\n")
    }
}

const fn done(created: bool) -> &'static str {
    if created { "created" } else { "was there already" }
}

fn finding(finding: &probe::Finding) -> String {
    let verdict = match finding.verdict {
        Verdict::Good => "ok     ",
        Verdict::Weak => "WARNING",
        Verdict::Broken => "BROKEN ",
    };
    format!("store {verdict}  {}: {}", finding.ability, finding.detail)
}

/// What a repository needs and this store does not do.
fn unusable(probed: &probe::Report) -> Failure {
    let broken = probed.findings.iter().filter(|finding| finding.verdict == Verdict::Broken);
    let broken: Vec<String> = broken.map(|finding| format!("{}: {}", finding.ability, finding.detail)).collect();
    Failure::new(format!("{} cannot hold a repository: {}", probed.store, broken.join("; ")))
        .with_hint(Some("use another store; nothing was written but the probe, which was removed"))
}
