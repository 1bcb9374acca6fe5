//! Reading a backup back: its listing, and every pack that it refers to, whoever has stored it.

use std::collections::HashMap;

use super::error::{Error, Result as BucketResult};
use super::line::Line;
use super::previous::{is_lasting, open_listing, packs_of};
use crate::repository::{BackupEntry, Detail};
use crate::resources::{Result, Run, Verified};

/// Reads and checks everything.
pub(super) async fn verify(run: &Run, backup: &BackupEntry) -> Result<Verified> {
    let mut verified = Verified::begin(backup);
    let backups = run.repository.backups(&backup.resource);
    verified.read_all(run, backup).await?;
    let kept: u64 = backup.kept().iter().flat_map(|kept| &kept.objects).map(|object| object.plain_bytes).sum();
    run.progress.expect(backup.objects.iter().map(|object| object.plain_bytes).sum::<u64>() + kept);
    for kept in backup.kept() {
        for object in &kept.objects {
            verified.read_framed(run, &backups, &kept.backup, object).await?;
        }
    }
    match check_listing(run, backup).await {
        Ok(objects) => verified.compared.push(format!("the listing has {objects} object(s), and the content of each is there")),
        Err(Error::Listing { object, detail }) => verified.add_damage(object, detail),
        // It was read above: that it is damaged, or that no key opens it, was said there.
        Err(error) if is_lasting(&error) => {}
        Err(error) => return Err(error.into()),
    }
    Ok(verified)
}

/// Whether the listing has what the catalog says, and every line's content lies in a pack that the backup needs.
async fn check_listing(run: &Run, backup: &BackupEntry) -> BucketResult<u64> {
    let backups = run.repository.backups(&backup.resource);
    let packs: HashMap<String, u64> =
        packs_of(backup).map(|(id, object)| (format!("{id}/{}", object.name), object.plain_bytes)).collect();
    let has = |line: &Line| match &line.place {
        None => line.size == 0,
        Some(place) => packs.get(&place.pack).is_some_and(|bytes| place.offset.saturating_add(line.size) <= *bytes),
    };
    let mut lines = open_listing(&backups, backup).await?;
    let (mut objects, mut wrong) = (0, 0);
    while let Some(line) = lines.next().await? {
        objects += 1;
        wrong += u64::from(!has(&line));
    }
    let listing = |detail: String| Error::Listing { object: backups.key(&backup.id, "listing.jsonl"), detail };
    match &backup.detail {
        _ if wrong > 0 => Err(listing(format!("{wrong} of its lines have their content where the catalog has none"))),
        Detail::Bucket(detail) if detail.objects != objects => {
            Err(listing(format!("it has {objects} lines, and the catalog says {}", detail.objects)))
        }
        _ => Ok(objects),
    }
}
