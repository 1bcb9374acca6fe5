//! Restores into a server that runs and is empty: each value by `RESTORE`, many under way at once.
//!
//! The file is read twice: first to find out whether all of it can be restored so, before anything is written, then to do it. What
//! is in memory at once is bounded; a value that is too large for that is sent while it is read.

mod commands;
mod sending;
mod survey;

use std::io::{self, Read, Write};

use async_trait::async_trait;
use futures_util::TryStreamExt;
use tokio_util::io::{StreamReader, SyncIoBridge};

use super::{Error, RestoreRequest, Result, Stored};
use crate::config::RedisUrl;
use crate::resources::redis::connection::Connection;
use crate::resources::redis::rdb;
use crate::resources::redis::resource::Server;
use crate::resources::redis::server::Facts;
use crate::resources::redis::tls::Certificates;
use crate::resources::{RestorePlan, Restored, Run};
use survey::Survey;

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    stored: Stored,
    url: RedisUrl,
    certificates: Certificates,
    /// What the target is, in words.
    target: String,
    survey: Survey,
}

/// What was restored.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, serde::Serialize)]
struct Tally {
    /// Keys that were restored.
    keys: u64,
    /// Of these, how many expire within an hour.
    short_lived: u64,
    /// Keys that had expired and were left out.
    expired: u64,
    /// Libraries of functions.
    libraries: u64,
}

/// Finds out whether a restore is possible, and what it would do.
pub(super) async fn plan(run: &Run, server: &Server, stored: Stored, request: &RestoreRequest) -> Result<Planned> {
    let url = url(request)?;
    let certificates = Certificates::of(server.section());
    let (connection, facts) = open(&url, &certificates).await?;
    let (kind, version) = facts.version();
    let target = format!("{} ({kind} {version})", connection.server);
    drop(connection);
    let source = source(run, &stored).await?;
    let key = stored.key.clone();
    let survey = blocking(move || survey::survey(source)).await?;
    let survey = survey.map_err(|source| Error::Stored { object: key, source })?;
    survey.refuse()?;
    Ok(Planned { stored, url, certificates, target, survey })
}

/// Where the target is, and who logs in there. A password on the command line would stand in the list of processes.
fn url(request: &RestoreRequest) -> Result<RedisUrl> {
    let refused = |why: String| Error::NotRestored(why, "write it as in --into redis://user@host:6379 --into-password-file FILE");
    let text = request.into.as_deref().unwrap_or_default();
    let mut url: RedisUrl = text.parse().map_err(|why| refused(format!("--into: {why}")))?;
    if url.password.is_some() {
        return Err(refused("--into holds a password, which everybody on this host can see there".to_owned()));
    }
    if let Some(file) = &request.into_password_file {
        let password = std::fs::read_to_string(file).map_err(Error::file("read", file))?;
        url.password = Some(password.trim_end_matches(['\n', '\r']).to_owned());
    }
    Ok(url)
}

/// Connects to the target, which has to be empty and one that takes writes.
async fn open(url: &RedisUrl, certificates: &Certificates) -> Result<(Connection, Facts)> {
    let mut connection = Connection::open(url, certificates).await?;
    let facts = Facts::ask(&mut connection).await?;
    let server = &connection.server;
    let refused = |why: String, hint| Err(Error::NotRestored(format!("{server} {why}"), hint));
    if facts.is_loading() {
        return Err(connection.refused(&[b"a restore"], "LOADING it is loading its data into memory".to_owned()));
    }
    if facts.is_replica() {
        return refused("is a replica".to_owned(), "name its master");
    }
    if facts.is_cluster_node() {
        let hint = "restore the file of each node with --to, into the directory of a node with the same slots";
        return refused("is a node of a cluster, which takes the keys of its own slots only".to_owned(), hint);
    }
    if facts.keys() > 0 {
        let hint = "name an empty server; FLUSHALL empties one whose keys nobody needs any more";
        return refused(format!("has {} keys: a restore does not mix with them", facts.keys()), hint);
    }
    Ok((connection, facts))
}

/// The stored file, for a thread that may block.
async fn source(run: &Run, stored: &Stored) -> Result<impl Read + Send + 'static> {
    let content = stored.content(run).await?;
    let (progress, cancelled) = (run.progress.clone(), run.cancelled.clone());
    let content = content.map_err(io::Error::other).inspect_ok(move |piece| progress.done(piece.len() as u64));
    let content = content.and_then(move |piece| {
        let cancelled = cancelled.is_cancelled();
        async move { if cancelled { Err(io::Error::other("cancelled")) } else { Ok(piece) } }
    });
    Ok(SyncIoBridge::new(StreamReader::new(Box::pin(content))))
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(|panic| Error::Interrupted(panic.to_string()))
}

impl Planned {
    async fn restore(&self, run: &Run) -> Result<Tally> {
        let (connection, _) = open(&self.url, &self.certificates).await?;
        let (sender, batches) = sending::channel();
        let (source, survey) = (source(run, &self.stored).await?, self.survey.clone());
        let encoding = tokio::task::spawn_blocking(move || commands::encode(source, &survey, &mut |batch| sender.hand_on(batch)));
        let sent = sending::send(connection, batches).await;
        let encoded = encoding.await.map_err(|panic| Error::Interrupted(panic.to_string()))?;
        // When the server refuses, the encoder only notices that nobody takes its commands.
        match (sent, encoded) {
            (Err(error), _) => Err(error),
            (Ok(()), Err(source)) => Err(Error::Stored { object: self.stored.key.clone(), source }),
            (Ok(()), Ok(tally)) => Ok(tally),
        }
    }

    /// Asks the target how many keys it has now; an error where that is not what was restored.
    async fn compare(&self, tally: Tally) -> Result<u64> {
        let mut connection = Connection::open(&self.url, &self.certificates).await?;
        let keys = Facts::ask(&mut connection).await?.keys();
        let least = tally.keys.saturating_sub(tally.short_lived);
        if keys > tally.keys || keys < least {
            let why = format!("{} has {keys} keys now, and {} were restored", connection.server, tally.keys);
            return Err(Error::NotRestored(why, "does somebody else write to it, or has it too little memory (maxmemory)?"));
        }
        Ok(keys)
    }
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let mut lines = vec![format!("{}, into {}, which is empty", self.stored.text(), self.target)];
        if self.survey.libraries > 0 {
            lines.push(format!("and {} libraries of functions", self.survey.libraries));
        }
        if self.survey.expired > 0 {
            lines.push(format!("{} of the keys have expired meanwhile and are left out", self.survey.expired));
        }
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        let Survey { keys, expired, libraries, .. } = &self.survey;
        serde_json::json!({ "into": self.url.place.to_string(), "keys": keys, "expired": expired, "libraries": libraries })
    }

    async fn carry_out(self: Box<Self>, run: &Run, _: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        let tally = run.until_cancelled(self.restore(run)).await?;
        let keys = run.until_cancelled(self.compare(tally)).await?;
        let expired =
            if tally.expired > 0 { format!("; {} had expired and were left out", tally.expired) } else { String::new() };
        let text = format!("restored {} keys into {}, which has {keys} now{expired}", tally.keys, self.target);
        Ok(Restored::whole(text, serde_json::json!({ "restored": tally, "keys_now": keys })))
    }
}

/// What `rdb` says of a name that is too long for it.
fn unnamed(at: u64) -> rdb::Error {
    rdb::Error::Malformed { at, detail: "the name of a key is longer than a megabyte".to_owned() }
}
