//! What reading a backup back has shown.

use futures_util::TryStreamExt;
use serde::Serialize;

use super::{Result, Run};
use crate::codec;
use crate::repository::{self, BackupEntry, BackupId, BackupObject, Backups, Content, ResourceName};

/// What reading a backup back has shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The resource.
    pub resource: ResourceName,
    /// The backup.
    pub backup: BackupId,
    /// How many objects were read.
    pub objects: usize,
    /// How many bytes were read from the store.
    pub stored_bytes: u64,
    /// What else was compared, in sentences.
    pub compared: Vec<String>,
    /// What is wrong; empty if the backup is sound.
    pub damage: Vec<Damage>,
}

/// Something that is wrong with a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Damage {
    /// The object's key.
    pub object: String,
    /// What is wrong with it.
    pub detail: String,
}

/// What is said where nothing could be looked into.
const SEALED: &str = "what is stored has the hashes of the catalog, and was not looked into";

impl Verified {
    /// Nothing read, nothing wrong.
    #[must_use]
    pub fn begin(backup: &BackupEntry) -> Self {
        let (resource, backup) = (backup.resource.clone(), backup.id.clone());
        Self { resource, backup, objects: 0, stored_bytes: 0, compared: Vec::new(), damage: Vec::new() }
    }

    /// Whether the backup is sound.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }

    /// Takes note that no identity is at hand that opens the backup, as `locked` says.
    pub fn say_sealed(&mut self, locked: &repository::Error) {
        if !self.is_sealed() {
            self.compared.push(format!("{}: {SEALED}", why_sealed(locked)));
        }
    }

    /// Whether something was not looked into for want of an identity.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.compared.iter().any(|compared| compared.ends_with(SEALED))
    }

    /// Takes note of damage.
    pub fn add_damage(&mut self, object: impl Into<String>, detail: impl Into<String>) {
        self.damage.push(Damage { object: object.into(), detail: detail.into() });
    }

    /// Takes note of what became of an object: damage is a finding, anything else that went wrong an error.
    ///
    /// # Errors
    /// When nothing is known of the object.
    pub fn note<T>(&mut self, object: &str, outcome: repository::Result<T>) -> Result<Option<T>> {
        use repository::Error::{Codec, Damaged, Malformed, Misplaced};
        match outcome {
            Ok(value) => Ok(Some(value)),
            // For want of a key nothing is known.
            Err(error) if error.is_locked() => Err(error.into()),
            Err(Damaged { object, detail } | Malformed { object, detail }) => {
                self.add_damage(object, detail);
                Ok(None)
            }
            Err(error @ (Codec { .. } | Misplaced { .. })) => {
                self.add_damage(object, error.to_string());
                Ok(None)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Reads an object from end to end and compares it with the catalog; `content`, where its content lies in it, is read on the way.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    pub async fn read_content(
        &mut self,
        run: &Run,
        key: &str,
        object: &BackupObject,
        content: Content,
        mut take: impl FnMut(&[u8]) + Send,
    ) -> Result<bool> {
        let mut content = content;
        loop {
            let next = run.until_cancelled(async { Ok::<_, super::Error>(content.try_next().await) }).await?;
            match self.note(key, next)? {
                Some(Some(plain)) => {
                    run.progress.done(plain.len() as u64);
                    take(&plain);
                }
                Some(None) => break,
                None => return Ok(false),
            }
        }
        self.objects += 1;
        self.stored_bytes += object.stored_bytes;
        Ok(true)
    }

    /// Reads an object as it is stored, without looking into it.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    pub async fn read_stored(&mut self, run: &Run, backup: &BackupEntry, object: &BackupObject) -> Result<bool> {
        let backups = run.repository.backups(&backup.resource);
        self.read_stored_of(run, &backups, &backup.id, object).await
    }

    async fn read_stored_of(&mut self, run: &Run, backups: &Backups, id: &BackupId, object: &BackupObject) -> Result<bool> {
        let check = async { Ok::<_, super::Error>(backups.check_stored(id, object, |_| ()).await) };
        let outcome = run.until_cancelled(check).await?;
        let sound = self.note(&backups.key(id, &object.name), outcome)?.is_some();
        if sound {
            run.progress.done(object.plain_bytes);
            self.objects += 1;
            self.stored_bytes += object.stored_bytes;
        }
        Ok(sound)
    }

    /// Reads every object of a backup: as it is stored, and the content of those that have a frame index beside them.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    pub async fn read_all(&mut self, run: &Run, backup: &BackupEntry) -> Result<()> {
        run.progress.expect(backup.objects.iter().map(|object| object.plain_bytes).sum());
        let backups = run.repository.backups(&backup.resource);
        for object in &backup.objects {
            match backup.object(&format!("{}.frames", object.name)) {
                None => drop(self.read_stored(run, backup, object).await?),
                Some(_) => self.read_framed(run, &backups, &backup.id, object).await?,
            }
        }
        Ok(())
    }

    /// Reads an object that has a frame index beside it, in the folder of the backup `id`.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    pub async fn read_framed(&mut self, run: &Run, backups: &Backups, id: &BackupId, object: &BackupObject) -> Result<()> {
        if let Some(content) = self.open(run, backups, id, object).await? {
            self.read_content(run, &backups.key(id, &object.name), object, content, |_| ()).await?;
        }
        Ok(())
    }

    /// The content of an object that is to be looked into. `None` where it cannot be: where only an identity is missing, what is stored was compared
    /// with its hash; otherwise its frames are damaged. Either is taken note of.
    ///
    /// # Errors
    /// When the store fails in such a way that nothing is known.
    pub async fn open(&mut self, run: &Run, backups: &Backups, id: &BackupId, object: &BackupObject) -> Result<Option<Content>> {
        match backups.get_frames(id, &object.name).await {
            Err(locked) if locked.is_locked() => {
                self.read_stored_of(run, backups, id, object).await?;
                self.say_sealed(&locked);
                Ok(None)
            }
            frames => {
                let frames = self.note(&backups.key(id, &object.name), frames)?;
                Ok(frames.map(|frames| backups.read_whole(id, object, &frames)))
            }
        }
    }
}

/// Whose identity is missing, of which identities are there.
fn why_sealed(locked: &repository::Error) -> String {
    match locked {
        repository::Error::Codec { source: codec::Error::Locked { needed, available }, .. } if !available.is_empty() => {
            let (needed, available) = (needed.join(", "), available.join(", "));
            format!("none of the identities at hand, of {available}, opens it, which is encrypted to {needed}")
        }
        repository::Error::Codec { source: codec::Error::Locked { needed, .. }, .. } => {
            format!("no identity is at hand, and it is encrypted to {}", needed.join(", "))
        }
        repository::Error::Codec { source: codec::Error::Identity { source }, .. } => {
            format!("no identity can be read here ({source})")
        }
        _ => "no identity is at hand".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_identity_opens_says_whose_is_missing() {
        let locked = |available: &[&str]| repository::Error::Codec {
            object: "files/a/data/1/files.tar".to_owned(),
            source: codec::Error::Locked {
                needed: vec!["age1needed".to_owned()],
                available: available.iter().map(|name| (*name).to_owned()).collect(),
            },
        };
        let said = why_sealed(&locked(&["age1other"]));
        assert!(
            said.contains("none of the identities at hand, of age1other,") && said.contains("encrypted to age1needed"),
            "{said}"
        );
        let said = why_sealed(&locked(&[]));
        assert!(said.contains("no identity is at hand") && said.contains("encrypted to age1needed"), "{said}");
    }
}
