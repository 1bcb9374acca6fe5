//! `holdfast backup` for everything but clusters.

use serde::Serialize;

use crate::cli::backups::Line;
use crate::cli::output::bytes;
use crate::cli::running::watched;
use crate::cli::{Context, Outcome, exit};
use crate::config::Config;
use crate::repository::{BackupId, ResourceName};
use crate::resources::{self, BackedUp, Run};

/// What became of it.
#[derive(Serialize)]
#[serde(untagged)]
enum Report {
    Taken {
        #[serde(flatten)]
        backup: Box<Line>,
        /// What was left out, or deserves a look.
        remarks: Vec<String>,
    },
    Unchanged {
        resource: ResourceName,
        unchanged_since: BackupId,
    },
}

pub(super) async fn run(context: &Context, config: &Config, name: &ResourceName, only_changes: bool) -> Outcome {
    let resource = resources::find(config, Some(name))?;
    let repository = context.repository(config).await?;
    let what = name.to_string();
    let backed_up =
        watched(context, &repository, &what, async |run| resource.back_up(&Run { only_changes, ..run }).await).await?;
    let report = match backed_up {
        BackedUp::Listed { entry, remarks } => Report::Taken { backup: Box::new(Line::from(entry.as_ref())), remarks },
        BackedUp::Unchanged(unchanged_since) => Report::Unchanged { resource: name.clone(), unchanged_since },
    };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

impl Report {
    fn text(&self) -> String {
        match self {
            Self::Unchanged { resource, unchanged_since } => {
                format!("{resource} is as it was in backup {unchanged_since}; nothing was stored")
            }
            Self::Taken { backup, remarks } => {
                let Line { id, resource, duration_s, plain_bytes, stored_bytes, own, .. } = backup.as_ref();
                let mut lines = remarks.clone();
                lines.push(format!("backup {id} of {resource}: {}", own.text()));
                lines.push(format!("  size      {}, {} stored", bytes(*plain_bytes), bytes(*stored_bytes)));
                lines.push(format!("  duration  {duration_s:.1} s"));
                lines.join("\n")
            }
        }
    }
}
