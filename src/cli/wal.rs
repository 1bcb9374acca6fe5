//! `holdfast wal ...`: single WAL files in and out, and what is stored.

mod acknowledge;
mod fetch;
mod list;
mod push;
mod serve;

use std::ffi::OsStr;

use clap::{Args, Subcommand};

use super::{Context, Outcome};
use crate::repository::ResourceName;

/// What `wal` takes.
#[derive(Args)]
pub(super) struct Options {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Store one file of pg_wal, as archive_command does; 0 only when it is durable
    Push(push::Options),
    /// Deliver one WAL file, as restore_command does: 0 delivered, 1 proven absent at the end of the archive, 126 and above anything
    /// else
    Fetch(fetch::Options),
    /// What is stored of a cluster's WAL: stretches without a hole, timelines, gaps
    List(list::Options),
    /// Take note of a gap or a conflict: the record stays, the alarm ends
    Acknowledge(acknowledge::Options),
    #[command(hide = true)]
    Serve(serve::Options),
}

/// Which cluster's WAL is meant.
#[derive(Args)]
struct Cluster {
    /// The cluster, as in postgres/main [default: the only one in the configuration]
    #[arg(long, value_name = "RESOURCE")]
    resource: Option<ResourceName>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    match &options.verb {
        Verb::Push(options) => push::run(context, options).await,
        Verb::Fetch(options) => fetch::run(context, options).await,
        Verb::List(options) => list::run(context, options).await,
        Verb::Acknowledge(options) => acknowledge::run(context, options).await,
        Verb::Serve(options) => serve::run(context, options).await,
    }
}

/// Whether this command line is one that PostgreSQL runs as `restore_command`, or could be meant as one.
///
/// Then no failure, not even a wrong option or a panic, may end with a code below 126: PostgreSQL would take it for the end of the WAL.
pub(super) fn stands_for_restore_command<T: AsRef<OsStr>>(arguments: impl IntoIterator<Item = T>) -> bool {
    let mut arguments = arguments.into_iter();
    arguments.any(|argument| argument.as_ref() == "wal") && arguments.any(|argument| argument.as_ref() == "fetch")
}

#[cfg(test)]
mod tests {
    use super::stands_for_restore_command;

    #[test]
    fn wal_fetch_is_recognised_wherever_options_stand() {
        let is = |line: &str| stands_for_restore_command(line.split(' '));
        assert!(is("holdfast wal fetch A B") && is("holdfast --config x wal -v fetch --bad") && is("holdfast wal fetch"));
        assert!(!is("holdfast wal push fetched") && !is("holdfast fetch") && !is("holdfast wal"));
    }
}
