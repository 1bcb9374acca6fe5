//! `holdfast key`: identities for encryption, and who can read what is stored.

mod list;
mod new;

use clap::Subcommand;

use super::{Context, Failure, Outcome, exit};

/// The commands.
#[derive(Subcommand)]
pub(super) enum Command {
    /// Make a new identity and print its recipient
    New(new::Options),
    /// List the recipients of new objects, the identities at hand, and what stored objects need
    List(list::Options),
}

pub(super) async fn run(context: &Context, command: &Command) -> Outcome {
    match command {
        Command::New(options) => new::run(context, options).await,
        Command::List(options) => list::run(context, options).await,
    }
}
