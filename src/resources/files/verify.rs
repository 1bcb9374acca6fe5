//! Whether a backup is sound: every byte, and the archive as a restore reads it.

use std::io::Read;
use std::result::Result as StdResult;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::error::Error;
use super::restore::blocking_reader;
use super::tar::{Archive, Refused};
use crate::repository::{self, BackupEntry, BackupObject, Content, Detail};
use crate::resources::{self, Result, Run, Verified};

/// How many pieces of the archive wait to be looked into.
const PIECES_WAITING: usize = 4;

/// Reads a backup back.
pub(super) async fn verify(run: &Run, backup: &BackupEntry) -> Result<Verified> {
    let mut verified = Verified::begin(backup);
    let Detail::Files(detail) = &backup.detail else { return Ok(verified) };
    run.progress.expect(backup.objects.iter().map(|object| object.plain_bytes).sum());
    if backup.object(&detail.archive).is_none() {
        let key = run.repository.backups(&backup.resource).key(&backup.id, &detail.archive);
        verified.add_damage(key, "the catalog entry does not list it");
    }
    for object in &backup.objects {
        if object.name == detail.archive {
            verify_archive(run, backup, object, &mut verified).await?;
        } else {
            verified.read_stored(run, backup, object).await?;
        }
    }
    Ok(verified)
}

async fn verify_archive(run: &Run, backup: &BackupEntry, object: &BackupObject, verified: &mut Verified) -> Result<()> {
    let backups = run.repository.backups(&backup.resource);
    let key = backups.key(&backup.id, &object.name);
    let Some(content) = verified.open(run, &backups, &backup.id, object).await? else { return Ok(()) };
    let Some(checked) = read(run, &key, object, content, verified).await? else { return Ok(()) };
    match checked {
        Ok(members) => verified.compared.push(format!("the archive has {members} member(s), and can be unpacked to its end")),
        Err(refused) => verified.add_damage(key, refused.to_string()),
    }
    Ok(())
}

/// Reads the archive past the check; what that found. None where what is stored is damaged.
async fn read(
    run: &Run,
    key: &str,
    object: &BackupObject,
    mut content: Content,
    verified: &mut Verified,
) -> Result<Option<StdResult<u64, Refused>>> {
    let (checking, mut wanted) = (Checking::begin(), true);
    loop {
        let next = run.until_cancelled(async { Ok::<_, resources::Error>(content.try_next().await) }).await?;
        let Some(next) = verified.note(key, next)? else { return Ok(None) };
        let Some(piece) = next else { break };
        run.progress.done(piece.len() as u64);
        // The rest is read as well: its hash shows whether the archive is as it was stored.
        wanted = wanted && checking.pieces.send(piece).await.is_ok();
    }
    verified.objects += 1;
    verified.stored_bytes += object.stored_bytes;
    Ok(Some(checking.finish().await?))
}

/// A check of an archive, on a thread of its own, while its pieces come.
struct Checking {
    pieces: mpsc::Sender<Bytes>,
    checked: JoinHandle<StdResult<u64, Refused>>,
}

impl Checking {
    fn begin() -> Self {
        let (pieces, waiting) = mpsc::channel::<Bytes>(PIECES_WAITING);
        let next = |mut waiting: mpsc::Receiver<Bytes>| async move {
            let piece = waiting.recv().await?;
            Some((Ok::<_, repository::Error>(piece), waiting))
        };
        let source = blocking_reader(stream::unfold(waiting, next).boxed());
        Self { pieces, checked: tokio::task::spawn_blocking(move || count(Archive::new(source))) }
    }

    /// What the archive is, when all of it was handed over.
    async fn finish(self) -> StdResult<StdResult<u64, Refused>, Error> {
        drop(self.pieces);
        self.checked.await.map_err(|panic| Error::Interrupted(panic.to_string()))
    }
}

/// Goes over an archive as a restore does, and counts its members.
fn count<R: Read>(mut archive: Archive<R>) -> StdResult<u64, Refused> {
    let mut members = 0;
    while archive.next_member()?.is_some() {
        members += 1;
    }
    archive.finish()?;
    Ok(members)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::codec::{ChangeDigest, Compression};
    use crate::repository::{FilesBackup, Repository, WriteLimits};
    use crate::resources::files::tar::{END, Kind, Member, encode};
    use crate::storage::FileStore;

    fn directory(path: &str) -> Vec<u8> {
        encode(&Member {
            path: path.as_bytes().to_vec(),
            kind: Kind::Directory,
            mode: 0o755,
            uid: 0,
            gid: 0,
            user: String::new(),
            group: String::new(),
            modified: (1, 0),
            size: 0,
            attributes: Vec::new(),
            data: None,
        })
    }

    /// What is found of a backup whose archive is this, stored as it is.
    async fn found(archive: &[u8]) -> Verified {
        let folder = tempfile::tempdir().expect("a directory");
        let store = Arc::new(FileStore::create(folder.path()).await.expect("a store"));
        let (repository, _) = Repository::create(store, Compression::default()).await.expect("a repository");
        let run = Run::new(repository);
        let draft = run.begin(&"files/a".parse().expect("a name"), WriteLimits::default()).await.expect("a draft");
        let mut writer = draft.begin_object("files.tar");
        writer.write(archive).await.expect("write the archive");
        let objects = draft.finish_object(writer).await.expect("store it").to_vec();
        let detail = FilesBackup {
            archive: objects[0].name.clone(),
            files: 0,
            directories: 0,
            links: 0,
            skipped: 0,
            fingerprint: ChangeDigest::of(b"a tree").expect("a digest"),
            exclusions: None,
        };
        let entry = draft.entry(objects, archive.len() as u64, Detail::Files(detail));
        verify(&run, &entry).await.expect("the store does not fail")
    }

    #[tokio::test]
    async fn an_archive_that_a_restore_refuses_is_damage_though_it_is_as_it_was_stored() {
        let sound = [directory("a"), directory("a/b"), END.to_vec()].concat();
        let verified = found(&sound).await;
        assert!(verified.is_sound() && verified.objects == 2, "{verified:?}");
        assert_eq!(verified.compared, ["the archive has 2 member(s), and can be unpacked to its end"]);
        let escaping = [directory("a"), directory("../b"), END.to_vec()].concat();
        let altered: Vec<u8> = sound.iter().enumerate().map(|(at, byte)| if at == 600 { byte ^ 1 } else { *byte }).collect();
        let large = [directory("a"), vec![1; 3 << 20]].concat();
        for (archive, why) in [
            (escaping, "leads out of its directory"),
            (altered, "the checksum of a header is wrong"),
            (sound[..1024].to_vec(), "early eof"),
            (large, "the checksum of a header is wrong"),
        ] {
            let verified = found(&archive).await;
            let damage: Vec<&str> = verified.damage.iter().map(|damage| damage.detail.as_str()).collect();
            assert!(damage.len() == 1 && damage[0].contains(why), "{why}: {damage:?}");
        }
    }
}
