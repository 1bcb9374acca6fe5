//! What can stand on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{agent, backup, backups, check, demo, expire, hold, init, key, restore, status, verify, wal};

/// Makes PostgreSQL recoverable to any moment, and proves that it can.
#[derive(Parser)]
#[command(name = "holdfast", version, max_term_width = 110)]
pub(super) struct Arguments {
    #[command(flatten)]
    pub common: Common,
    #[command(subcommand)]
    pub verb: Verb,
}

/// What every verb takes.
#[derive(Args)]
pub(super) struct Common {
    /// The configuration [default: HOLDFAST_CONFIG, or /etc/holdfast/holdfast.toml]
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// For people, or for programs
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub output: Format,
    /// Log more; twice for everything
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    /// Show no progress, log errors only
    #[arg(short, long, global = true)]
    pub quiet: bool,
}

/// How results are written.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// Tables and sentences.
    Text,
    /// One JSON document on stdout.
    Json,
}

/// The verbs.
#[derive(Subcommand)]
pub(super) enum Verb {
    /// Play the whole story in a scratch directory, with a real server
    Demo(demo::Options),
    /// Create the repository and the replication slots; safe to repeat
    Init(init::Options),
    /// Back up a resource now
    Backup(backup::Options),
    /// List the backups
    Backups(backups::Options),
    /// Run everything until SIGTERM: receive WAL, serve the status
    Agent(agent::Options),
    /// Bring a resource back: a cluster to a moment, into a new directory
    Restore(Box<restore::Options>),
    /// Read backups back and check every byte; ends with 1 if one is damaged
    Verify(verify::Options),
    /// Apply retention: remove backups and WAL that nothing needs
    Expire(expire::Options),
    /// Keep a backup whatever retention says
    Hold(hold::HoldOptions),
    /// End the holds on a backup
    Release(hold::ReleaseOptions),
    /// Single WAL files in and out, and what is stored
    Wal(wal::Options),
    /// Make an identity for encryption; list who can read what
    #[command(subcommand)]
    Key(key::Command),
    /// Look at configuration, access and recoverability; ends with 0, 1 (warning) or 2 (critical)
    Check(check::Options),
    /// Show to which moments each cluster can be recovered, and how far behind the store is
    Status(status::Options),
}
