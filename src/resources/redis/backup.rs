//! Backups: what a replica would get, or, where that is refused, each key for itself; checked on the way into the store.

use bytes::Bytes;

use super::error::{Error, Result};
use super::feed::Checking;
use super::rdb::Checked;
use super::resource::Server;
use super::scan::Scan;
use super::server::Facts;
use super::transfer::Transfer;
use crate::repository::{BackupEntry, Detail, Draft, ObjectWriter, RedisBackup, RedisPosition};
use crate::resources::Run;

/// The object that holds the file; the extension of the compression follows.
const RDB: &str = "dump.rdb";

/// Takes a file as it comes: into the store, and past the check.
pub(super) struct Intake<'a> {
    run: &'a Run,
    writer: ObjectWriter,
    checking: Checking,
    bytes: u64,
}

/// A file that is stored, but for its end.
struct Received {
    writer: ObjectWriter,
    checked: Checked,
    bytes: u64,
    position: Option<RedisPosition>,
    remarks: Vec<String>,
}

impl<'a> Intake<'a> {
    fn begin(run: &'a Run, draft: &Draft) -> Self {
        Self { run, writer: draft.begin_object(RDB), checking: Checking::begin(), bytes: 0 }
    }

    /// Takes a piece; false where the check has ended already: `finish` says why.
    pub(super) async fn take(&mut self, piece: Bytes) -> Result<bool> {
        self.writer.write(&piece).await?;
        self.bytes += piece.len() as u64;
        self.run.progress.done(piece.len() as u64);
        Ok(self.checking.take(piece).await)
    }

    async fn finish(self, server: String, position: Option<RedisPosition>, remarks: Vec<String>) -> Result<Received> {
        let checked = self.checking.finish().await.map_err(Error::Interrupted)?;
        let checked = checked.map_err(|source| Error::Rdb { server, source })?;
        Ok(Received { writer: self.writer, checked, bytes: self.bytes, position, remarks })
    }
}

/// Takes a backup: what the catalog says of it, and what has to be said besides.
pub(super) async fn store(server: &Server, run: &Run, draft: &Draft) -> Result<(BackupEntry, Vec<String>)> {
    let (connection, facts) = server.connect().await?;
    run.progress.say(format!("waiting for {} to make the file", connection.server));
    let received = match Transfer::begin(connection).await {
        Ok(transfer) => transferred(run, draft, transfer).await?,
        Err(refusal) if refusal.is_refusal_of_command() => by_key(server, run, draft, refusal).await?,
        Err(error) => return Err(error),
    };
    let facts = facts.unwrap_or_default();
    let remarks = remarks(&facts, &received);
    let (detail, bytes) = (detail(&facts, &received), received.bytes);
    let objects = draft.finish_object(received.writer).await?;
    let detail = RedisBackup { rdb: objects[0].name.clone(), ..detail };
    Ok((draft.entry(objects.to_vec(), bytes, Detail::Redis(detail)), remarks))
}

async fn transferred(run: &Run, draft: &Draft, mut transfer: Transfer) -> Result<Received> {
    run.progress.say("");
    run.progress.expect(transfer.length().unwrap_or(0));
    let mut intake = Intake::begin(run, draft);
    while let Some(piece) = transfer.next_piece().await? {
        if !intake.take(piece).await? {
            break;
        }
    }
    // The server is done with us, whatever the check says.
    let (server, position) = transfer.end();
    intake.finish(server, Some(position), Vec::new()).await
}

/// The way round a server that refuses replication: `refusal` says how it does.
async fn by_key(server: &Server, run: &Run, draft: &Draft, refusal: Error) -> Result<Received> {
    let (connection, facts) = server.connect().await?;
    // Without INFO it is not known which databases there are.
    let Some(facts) = facts else { return Err(refusal) };
    run.progress.say("");
    let name = connection.server.clone();
    let mut intake = Intake::begin(run, draft);
    let mut scan = Scan::new(connection, &facts);
    scan.run(&mut intake).await.map_err(|error| error.after(&refusal))?;
    let mut remarks = std::mem::take(&mut scan.remarks);
    remarks.push(format!("{refusal}. So each key was read for itself: the keys are of different moments"));
    intake.finish(name, None, remarks).await
}

fn detail(facts: &Facts, received: &Received) -> RedisBackup {
    let Checked { header, counts, checksum, server_version, valkey_version } = &received.checked;
    let (mut server, mut version) = facts.version();
    if version.is_empty() {
        server = if valkey_version.is_some() || header.valkey { "valkey" } else { "redis" };
        version = valkey_version.clone().or_else(|| server_version.clone()).unwrap_or_default();
    }
    let counts = counts.as_ref().ok();
    RedisBackup {
        rdb: String::new(),
        server: server.to_owned(),
        server_version: version,
        rdb_version: u32::from(header.version),
        keys: counts.map(|counts| counts.keys),
        keys_with_expiry: counts.map(|counts| counts.with_expiry),
        databases: counts.map(|counts| counts.databases),
        module_values: counts.map(|counts| counts.module_values),
        position: received.position.clone(),
        checksum: *checksum,
    }
}

/// What whoever reads of the backup has to know.
fn remarks(facts: &Facts, received: &Received) -> Vec<String> {
    let mut remarks = warnings(facts);
    remarks.extend(received.remarks.iter().cloned());
    let checked = &received.checked;
    match &checked.counts {
        Err(unknown) => remarks.push(format!("{unknown}: how many keys there are is not known. The file is whole all the same")),
        Ok(counts) if counts.module_values > 0 => {
            let modules: Vec<&str> = counts.modules.iter().map(String::as_str).collect();
            remarks.push(format!("a server that loads it needs the modules of {}", modules.join(", ")));
        }
        Ok(_) => {}
    }
    if !checked.checksum {
        remarks.push("the server writes no checksum (rdbchecksum no): its structure was checked, and not each byte".to_owned());
    }
    remarks
}

/// What deserves a look before a backup is taken.
pub(super) fn warnings(facts: &Facts) -> Vec<String> {
    let mut warnings = Vec::new();
    if facts.is_replica() {
        warnings.push("this is a replica: its data is as old as its replication is behind".to_owned());
    }
    if facts.is_cluster_node() {
        warnings.push("this is a node of a cluster: its own slots are backed up, and no others".to_owned());
    }
    warnings
}
