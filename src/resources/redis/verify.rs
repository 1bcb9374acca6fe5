//! Whether a backup is sound: every byte, the structure, and, where a server is installed, what that makes of it.

use futures_util::TryStreamExt;

use super::error::Error;
use super::feed::Checking;
use super::rdb::Checked;
use super::scratch::{Loaded, Scratch};
use crate::config;
use crate::repository::{BackupEntry, BackupObject, Content, Detail, RedisBackup};
use crate::resources::{self, Result, Run, Verified};

/// Reads a backup back.
pub(super) async fn verify(run: &Run, backup: &BackupEntry, section: &config::Redis) -> Result<Verified> {
    let mut verified = Verified::begin(backup);
    let Detail::Redis(detail) = &backup.detail else { return Ok(verified) };
    run.progress.expect(backup.objects.iter().map(|object| object.plain_bytes).sum());
    for object in &backup.objects {
        if object.name == detail.rdb {
            verify_file(run, backup, detail, object, section, &mut verified).await?;
        } else {
            verified.read_stored(run, backup, object).await?;
        }
    }
    Ok(verified)
}

async fn verify_file(
    run: &Run,
    backup: &BackupEntry,
    detail: &RedisBackup,
    object: &BackupObject,
    section: &config::Redis,
    verified: &mut Verified,
) -> Result<()> {
    let backups = run.repository.backups(&backup.resource);
    let key = backups.key(&backup.id, &object.name);
    let Some(content) = verified.open(run, &backups, &backup.id, object).await? else { return Ok(()) };
    let mut scratch = if section.scratch_server { Scratch::begin(object.plain_bytes).map(Some) } else { Ok(None) };
    let Some(checked) = read(run, &key, object, content, &mut scratch, verified).await? else { return Ok(()) };
    compare(&key, detail, &checked, verified);
    match scratch {
        Ok(None) => verified.compared.push("it was not loaded into a server (scratch_server = false)".to_owned()),
        Err(why) => verified.compared.push(format!("it was not loaded into a server: {why}")),
        Ok(Some(scratch)) => {
            run.progress.say("waiting for a scratch server to load it");
            let loading = async { Ok::<_, resources::Error>(scratch.load(&detail.server, &section.hidden).await) };
            let loaded = run.until_cancelled(loading).await?;
            note_loaded(&key, detail, loaded, verified);
        }
    }
    Ok(())
}

/// Reads the file past the check, and into the scratch server's place. None where it is damaged.
async fn read(
    run: &Run,
    key: &str,
    object: &BackupObject,
    mut content: Content,
    scratch: &mut std::result::Result<Option<Scratch>, String>,
    verified: &mut Verified,
) -> Result<Option<Checked>> {
    let (checking, mut wanted) = (Checking::begin(), true);
    loop {
        let next = run.until_cancelled(async { Ok::<_, resources::Error>(content.try_next().await) }).await?;
        let Some(next) = verified.note(key, next)? else { return Ok(None) };
        let Some(piece) = next else { break };
        run.progress.done(piece.len() as u64);
        if let Ok(Some(place)) = scratch
            && let Err(error) = place.write(&piece)
        {
            *scratch = Err(error);
        }
        // The rest is read as well: its hash shows whether the file is as it was stored.
        wanted = wanted && checking.take(piece).await;
    }
    verified.objects += 1;
    verified.stored_bytes += object.stored_bytes;
    match checking.finish().await.map_err(Error::Interrupted)? {
        Ok(checked) => Ok(Some(checked)),
        Err(error) => {
            verified.add_damage(key, error.to_string());
            Ok(None)
        }
    }
}

/// Compares what the file holds with the catalog.
fn compare(key: &str, detail: &RedisBackup, checked: &Checked, verified: &mut Verified) {
    let checksum =
        if checked.checksum { "its structure and its checksum are right" } else { "its structure is right; it has no checksum" };
    match (&checked.counts, detail.keys) {
        (Ok(counts), Some(keys)) if counts.keys != keys => {
            verified.add_damage(key, format!("it has {} keys, and the catalog says {keys}", counts.keys));
        }
        (Ok(counts), _) => verified.compared.push(format!("{} keys: {checksum}", counts.keys)),
        // Behind the first value of an unknown type nothing but the checksum is compared.
        (Err(unknown), _) => {
            let checksum = if checked.checksum { "its checksum is right" } else { "it has no checksum" };
            verified.compared.push(format!("ITS KEYS WERE NOT COUNTED, because {unknown}; {checksum}"));
        }
    }
}

fn note_loaded(key: &str, detail: &RedisBackup, loaded: Loaded, verified: &mut Verified) {
    match loaded {
        Loaded::Keys { server, keys, expired_meanwhile } => {
            let expected = detail.keys.unwrap_or(keys);
            let fits = keys == expected
                || !expired_meanwhile && keys <= expected && keys + detail.keys_with_expiry.unwrap_or(0) >= expected;
            if fits {
                verified.compared.push(format!("{server} has loaded it: {keys} keys"));
            } else {
                verified.add_damage(key, format!("{server} has loaded {keys} keys of it, and the catalog says {expected}"));
            }
        }
        Loaded::LeftOut(why) => verified.compared.push(format!("it was not loaded into a server: {why}")),
        Loaded::Refused { server, said } => verified.add_damage(key, format!("{server} does not load it: {said}")),
    }
}
