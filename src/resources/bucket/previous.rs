//! The backup before: what a new one can refer to.

use std::collections::{HashMap, HashSet};

use super::error::{Error, Result};
use super::line::{Line, Lines};
use crate::repository::{self, BackupEntry, BackupId, BackupObject, Backups, Detail, KeptContent};

/// A listed backup whose listing can be read.
pub(super) struct Previous {
    backups: Backups,
    entry: BackupEntry,
    /// Its packs that are there, by the names that lines have for them.
    packs: HashMap<String, BackupObject>,
}

/// What was found of a backup before.
pub(super) enum Before {
    /// There is one.
    Usable(Box<Previous>),
    /// There is none.
    None,
    /// There is one that cannot be read; why, in a sentence.
    Unreadable(String),
}

/// The listing of a backup.
pub(super) async fn open_listing(backups: &Backups, entry: &BackupEntry) -> Result<Lines> {
    let name = match &entry.detail {
        Detail::Bucket(detail) => detail.listing.as_str(),
        _ => "",
    };
    let key = backups.key(&entry.id, name);
    let unlisted = || Error::Listing { object: key.clone(), detail: "the catalog entry does not list it".to_owned() };
    let object = entry.object(name).ok_or_else(unlisted)?;
    let frames = backups.get_frames(&entry.id, name).await?;
    Ok(Lines::new(key, backups.read_whole(&entry.id, object, &frames)))
}

/// The packs that a backup needs: who has stored each, and what the catalog says of it.
pub(super) fn packs_of(entry: &BackupEntry) -> impl Iterator<Item = (&BackupId, &BackupObject)> {
    let own = entry.objects.iter().filter(|object| is_pack(&object.name)).map(|object| (&entry.id, object));
    let kept = entry.kept().iter().flat_map(|kept| kept.objects.iter().map(|object| (&kept.backup, object)));
    own.chain(kept)
}

/// Whether the object of that name is a pack.
pub(super) fn is_pack(name: &str) -> bool {
    name.starts_with("content-") && !name.ends_with(".frames")
}

impl Previous {
    /// The newest listed backup. The caller holds the lease of a new one, so that what is found stays.
    pub async fn find(backups: &Backups) -> Result<Before> {
        let Some(entry) = backups.newest().await? else { return Ok(Before::None) };
        let id = entry.id.clone();
        let unreadable = |why: String| {
            Before::Unreadable(format!("backup {id} cannot be read, so that every object was read and stored again: {why}"))
        };
        let mut lines = match open_listing(backups, &entry).await {
            Ok(lines) => lines,
            Err(error) if is_lasting(&error) => return Ok(unreadable(error.to_string())),
            Err(error) => return Err(error),
        };
        match lines.next().await {
            Err(error) if is_lasting(&error) => return Ok(unreadable(error.to_string())),
            other => drop(other?),
        }
        let packs = there(backups, &entry).await?;
        Ok(Before::Usable(Box::new(Self { backups: backups.clone(), entry, packs })))
    }

    /// Its id.
    pub const fn id(&self) -> &BackupId {
        &self.entry.id
    }

    /// Its lines.
    pub async fn lines(&self) -> Result<Lines> {
        open_listing(&self.backups, &self.entry).await
    }

    /// Whether the content of a line is there.
    pub fn has(&self, line: &Line) -> bool {
        line.place.as_ref().is_none_or(|place| self.packs.contains_key(&place.pack))
    }

    /// What the catalog says of these packs, by the backups that have stored them.
    pub fn kept(&self, used: &HashSet<String>) -> Vec<KeptContent> {
        let mut kept: Vec<KeptContent> = Vec::new();
        let mut used: Vec<&String> = used.iter().filter(|pack| self.packs.contains_key(*pack)).collect();
        used.sort_unstable();
        for pack in used {
            let (Some((id, _)), Some(object)) = (pack.split_once('/'), self.packs.get(pack)) else { continue };
            match kept.last_mut().filter(|last| last.backup.as_str() == id) {
                Some(last) => last.objects.push(object.clone()),
                None => kept.extend(id.parse().ok().map(|backup| KeptContent { backup, objects: vec![object.clone()] })),
            }
        }
        kept
    }
}

/// The packs of a backup that are there, with their indexes and of the right size.
async fn there(backups: &Backups, entry: &BackupEntry) -> Result<HashMap<String, BackupObject>> {
    let mut stored: HashMap<BackupId, HashMap<String, u64>> = HashMap::new();
    let mut packs = HashMap::new();
    for (id, object) in packs_of(entry) {
        if !stored.contains_key(id) {
            stored.insert(id.clone(), backups.stored_objects(id).await?);
        }
        let objects = &stored[id];
        if objects.get(&object.name) == Some(&object.stored_bytes) && objects.contains_key(&format!("{}.frames", object.name)) {
            packs.insert(format!("{id}/{}", object.name), object.clone());
        }
    }
    Ok(packs)
}

/// Makes sure that content that is referred to is still there.
pub(super) async fn confirm(backups: &Backups, kept: &[KeptContent]) -> Result<()> {
    for content in kept {
        let stored = backups.stored_objects(&content.backup).await?;
        let missing = content.objects.iter().find(|object| stored.get(&object.name) != Some(&object.stored_bytes));
        if let Some(object) = missing {
            return Err(Error::Vanished { object: backups.key(&content.backup, &object.name) });
        }
    }
    Ok(())
}

/// Whether trying again will not help: it is damaged, or there is no key that opens it.
pub(super) fn is_lasting(error: &Error) -> bool {
    use repository::Error::{Codec, Damaged, Malformed, Misplaced};
    match error {
        Error::Listing { .. } => true,
        Error::Repository(error) => {
            error.is_locked() || matches!(error, Codec { .. } | Damaged { .. } | Malformed { .. } | Misplaced { .. })
        }
        _ => false,
    }
}
