//! `holdfast key new`: makes an identity, writes it to a file of its own, and says what goes into the configuration.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::super::output;
use super::{Context, Failure, Outcome, exit};
use crate::codec::KeyFile;
use crate::config::Config;
use crate::sys::clock;
use crate::sys::durable::{self, Creation};

/// Nobody but the owner reads it.
const MODE: u32 = 0o600;
/// The file that is written where none is named.
const FILE: &str = "holdfast-identity.txt";

/// What `key new` takes.
#[derive(Args)]
pub(in crate::cli) struct Options {
    /// Protect the file with a passphrase: from identity_passphrase, or asked for on the terminal
    #[arg(long)]
    passphrase: bool,
    /// The file to write, which must not be there yet
    #[arg(long, value_name = "FILE", default_value = FILE)]
    out: PathBuf,
}

/// What was made.
#[derive(Serialize)]
struct Report {
    recipient: String,
    file: PathBuf,
    passphrase: bool,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let file = std::path::absolute(&options.out).map_err(|error| Failure::new(error.to_string()))?;
    refuse_to_overwrite(&file)?;
    let passphrase = if options.passphrase { Some(passphrase(context)?) } else { None };
    let written = file.clone();
    let work = move || make(&written, passphrase);
    let recipient = tokio::task::spawn_blocking(work).await.map_err(|panic| Failure::new(panic.to_string()))??;
    let report = Report { recipient, file, passphrase: options.passphrase };
    context.output.result(&report, Report::text);
    Ok(exit::DONE)
}

fn refuse_to_overwrite(file: &Path) -> Result<(), Failure> {
    match file.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Failure::new(format!("{}: {error}", file.display()))),
        Ok(_) => Err(taken(file)),
    }
}

fn taken(file: &Path) -> Failure {
    Failure::new(format!("{} is there already and was not overwritten: what is encrypted to it would be lost", file.display()))
        .with_hint(Some("name another file with --out"))
}

/// The configured one, or one that is asked for.
fn passphrase(context: &Context) -> Result<String, Failure> {
    let configured = context.config().ok().and_then(|Config { encryption, .. }| encryption.identity_passphrase);
    let passphrase = match configured {
        Some(secret) => Some(secret.reveal()?),
        None => output::ask_new_passphrase(),
    };
    let given = passphrase.filter(|passphrase| !passphrase.is_empty());
    given.ok_or_else(|| {
        Failure::new("no passphrase was given, or the two that were typed differ")
            .with_hint(Some("run this on a terminal, or configure identity_passphrase in [encryption]"))
    })
}

/// Makes the identity; its recipient. Blocks.
fn make(file: &Path, passphrase: Option<String>) -> Result<String, Failure> {
    let key = KeyFile::generate(clock::now());
    let key = match passphrase {
        Some(passphrase) => key.protect(passphrase).map_err(|error| Failure::new(error.to_string()))?,
        None => key,
    };
    match durable::create(file, key.content().as_bytes(), MODE) {
        Ok(Creation::Created) => Ok(key.recipient().to_owned()),
        Ok(Creation::AlreadyExists) => Err(taken(file)),
        Err(error) => Err(Failure::new(format!("{} cannot be written: {error}", file.display()))),
    }
}

impl Report {
    fn text(&self) -> String {
        let Self { recipient, file, .. } = self;
        let file = file.display();
        format!(
            "The identity is in {file}, readable for its owner only. Its recipient:\n\n  {recipient}\n\n\
             In the configuration of every host:\n\n  [encryption]\n  recipients = [\"{recipient}\"]\n\n\
             and only where restores and drills run:\n\n  identity_file = \"{file}\"\n\n\
             Keep copies of the file where a disaster does not reach them, and not in the repository. Whoever has it reads everything that is\n\
             encrypted to it; when it is lost, everything that is encrypted to it alone is lost."
        )
    }
}
