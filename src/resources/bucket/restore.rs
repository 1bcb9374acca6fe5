//! Restores of objects: to their bucket, to another one, or to a directory. First a comparison with what is there, then the work.

mod carry_out;
mod compare;
mod content;
mod directory;
mod names;
mod seen;
mod target;

use std::ffi::OsStr;
use std::io::Write;

use async_trait::async_trait;
use serde::Serialize;

use super::error::{Error, Result};
use super::previous::open_listing;
use super::survey::Mark;
use crate::config::{Bucket, Pattern};
use crate::repository::{BackupEntry, Detail};
use crate::resources::exclusions::LeftOut;
use crate::resources::{RestorePlan, Restored, Run};
use carry_out::carry_out;
use compare::{Action, Comparison, Step};
use seen::Seen;
use target::Target;

/// What is wanted of a restore of objects, besides the place.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Whether what is there may be changed.
    pub apply: bool,
    /// Whether objects that the backup does not have are removed.
    pub delete_extra: bool,
    /// Only objects whose keys begin so.
    pub prefix: Option<String>,
    /// Only the object of this key.
    pub key: Option<String>,
}

impl RestoreRequest {
    /// Whether an object is asked for.
    fn wants(&self, key: &str) -> bool {
        self.key.as_ref().is_none_or(|only| only == key) && self.prefix.as_ref().is_none_or(|begin| key.starts_with(begin))
    }

    /// What the keys of all that is asked for begin with.
    fn begin(&self) -> &str {
        self.key.as_deref().or(self.prefix.as_deref()).unwrap_or_default()
    }

    fn words(&self) -> String {
        match (&self.key, &self.prefix) {
            (Some(key), _) => format!("of the key '{key}'"),
            (None, Some(prefix)) => format!("whose key begins with '{prefix}'"),
            (None, None) => "at all".to_owned(),
        }
    }
}

/// Objects and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Sum {
    pub objects: u64,
    pub bytes: u64,
}

impl Sum {
    fn add(&mut self, bytes: u64) {
        self.objects += 1;
        self.bytes += bytes;
    }
}

impl std::fmt::Display for Sum {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} object(s), {} bytes", self.objects, self.bytes)
    }
}

/// The first few of many keys, for a person to see what is meant.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(super) struct FirstKeys(Vec<String>);

impl FirstKeys {
    const SHOWN: usize = 20;

    fn add(&mut self, key: &str) {
        if self.0.len() < Self::SHOWN {
            self.0.push(key.to_owned());
        }
    }

    /// A line for each, of `all` that there are. No character of a key acts on a terminal.
    fn lines(&self, all: u64) -> impl Iterator<Item = String> {
        let more = all.saturating_sub(self.0.len() as u64);
        let more = (more > 0).then(|| format!("    and {more} more"));
        self.0.iter().map(|key| format!("    {}", key.escape_debug())).chain(more)
    }
}

/// What a restore would change.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub(super) struct Difference {
    /// What is not there.
    pub create: Sum,
    /// What is there and differs.
    pub overwrite: Sum,
    /// What is as it should be.
    pub right: Sum,
    /// What is there and not in the backup.
    pub extra: Sum,
    /// How many keys get another name in a directory.
    pub renamed: u64,
    /// The first keys of what is there and differs.
    pub overwrite_keys: FirstKeys,
    /// The first keys of what is there and not in the backup.
    pub extra_keys: FirstKeys,
    /// What was left out of the backup when it was taken, and is not now: what there is of it stays.
    pub left_out_then: Vec<String>,
}

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    backup: BackupEntry,
    /// What is left out of backups, or was left out of this one.
    exclude: Vec<Pattern>,
    /// Whether the backup records what was left out of it: otherwise nothing is removed.
    is_recorded: bool,
    request: RestoreRequest,
    target: Target,
    is_in_place: bool,
    difference: Difference,
    seen: Seen,
}

/// Finds out what a restore would change.
pub(super) async fn plan(
    run: &Run,
    section: &Bucket,
    backup: &BackupEntry,
    to: Option<&OsStr>,
    request: RestoreRequest,
) -> Result<Planned> {
    let backups = run.repository.backups(&backup.resource);
    let (target, is_in_place) = Target::find(section, to, &request).await?;
    let target = match target {
        Target::Directory(directory) => {
            Target::Directory(directory.named(open_listing(&backups, backup).await?, &request).await?)
        }
        bucket => bucket,
    };
    let now = LeftOut::new(&section.exclude, false);
    let then = LeftOut::of(run, backup, request.delete_extra).await?;
    let (is_recorded, left_out_then) = (then.is_some(), then.as_ref().map(|then| then.more_than(&now)).unwrap_or_default());
    let LeftOut { patterns: exclude, .. } = match then {
        Some(then) => now.and(then),
        None => now,
    };
    let (difference, seen) = (Difference::default(), Seen::default());
    let mut planned = Planned { backup: backup.clone(), exclude, is_recorded, request, target, is_in_place, difference, seen };
    let (difference, seen) = planned.compare(run).await?;
    planned.difference = Difference { left_out_then, ..difference };
    planned.seen = seen;
    planned.confirm_removals()
}

impl Planned {
    async fn compare(&self, run: &Run) -> Result<(Difference, Seen)> {
        let (mut difference, mut seen) = (Difference::default(), Seen::default());
        let mut comparison = Comparison::new(run, &self.backup, &self.target, &self.request);
        while let Some(step) = comparison.next().await? {
            match step {
                Step::Object(line, action) => {
                    difference.renamed += u64::from(self.target.renames(&line.key));
                    match action {
                        Action::Create => difference.create.add(line.size),
                        Action::Overwrite(mark) => {
                            seen.add(&self.target.name(&line.key), mark);
                            difference.overwrite.add(line.size);
                            difference.overwrite_keys.add(&line.key);
                        }
                        Action::Leave => difference.right.add(line.size),
                    }
                }
                Step::PartEnded(survey) => {
                    let mut extras = self.target.extras(&survey, &self.request, &self.exclude);
                    while let Some((key, bytes)) = extras.next().await? {
                        if self.request.delete_extra
                            && let Some(mark) = survey.mark(&key)
                        {
                            seen.add(&key, mark);
                        }
                        difference.extra.add(bytes);
                        difference.extra_keys.add(&key);
                    }
                }
            }
        }
        seen.sort();
        let Difference { create, overwrite, right, .. } = &difference;
        match create.objects + overwrite.objects + right.objects {
            0 if self.request.key.is_some() || self.request.prefix.is_some() => {
                Err(Error::Nothing { backup: self.backup.id.to_string(), wanted: self.request.words() })
            }
            _ => Ok((difference, seen)),
        }
    }

    /// Refuses to remove what may be what no backup has.
    fn confirm_removals(self) -> Result<Self> {
        match self.deletes() && !self.is_recorded {
            true => Err(Error::Unrecorded { backup: self.backup.id.to_string() }),
            false => Ok(self),
        }
    }

    /// Whether anything that is there would change.
    const fn changes_what_is_there(&self) -> bool {
        self.difference.overwrite.objects > 0 || self.deletes()
    }

    /// Whether the plan was that what is there under a name, and looks like that, is overwritten or removed.
    fn changes(&self, name: &str, mark: Mark) -> bool {
        self.changes_what_is_there() && self.seen.has(name, mark)
    }

    const fn deletes(&self) -> bool {
        self.request.delete_extra && self.difference.extra.objects > 0
    }
}

/// How many objects a backup left out.
const fn left_out(backup: &BackupEntry) -> u64 {
    match &backup.detail {
        Detail::Bucket(detail) => detail.left_out,
        _ => 0,
    }
}

/// What has to be known of objects that are to be removed because the backup does not have them.
fn left_out_among(removed: u64, left_out: u64) -> Option<String> {
    (removed > 0 && left_out > 0).then(|| {
        format!(
            "    {left_out} object(s) vanished or went on changing while the backup was taken, and were left out: they can be among these, and \
             then no backup may have them"
        )
    })
}

/// What is said of what is not removed because it was left out when the backup was taken.
fn left_out_then_text(left_out: &[String]) -> Option<String> {
    let text = || format!("    {} was left out when the backup was taken: what there is of it stays", left_out.join(", "));
    (!left_out.is_empty()).then(text)
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let Self { backup, target, difference, .. } = self;
        let Difference { create, overwrite, right, extra, renamed, overwrite_keys, extra_keys, left_out_then } = difference;
        let stays = match (self.request.delete_extra, self.is_recorded) {
            (true, _) => "REMOVED",
            (false, true) => "stays (--delete-extra would remove it)",
            (false, false) => "stays (the backup does not record whether it was left out)",
        };
        let mut lines = vec![
            format!("backup {} of {}, {}, into {}", backup.id, backup.resource, backup.started_at, target.place()),
            format!("  not there yet        {create}"),
            format!("  there and different  {overwrite}"),
        ];
        lines.extend(overwrite_keys.lines(overwrite.objects));
        lines.push(format!("  right already        {right}"));
        lines.push(format!(
            "  not in the backup    {extra}{}",
            if extra.objects > 0 { format!(": {stays}") } else { String::new() }
        ));
        if self.request.delete_extra {
            lines.extend(extra_keys.lines(extra.objects));
            lines.extend(left_out_among(extra.objects, left_out(backup)));
            lines.extend(left_out_then_text(left_out_then));
        }
        if *renamed > 0 {
            lines
                .push(format!("  {renamed} key(s) cannot be names of files as they are: their special parts are written with %"));
        }
        if matches!(target, Target::Directory(_)) {
            lines.push("  types, metadata and tags are in the backup's listing; a directory has no place for them".to_owned());
        }
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        let difference = serde_json::to_value(&self.difference).expect("a difference has string keys and no failing serializer");
        serde_json::json!({ "backup": self.backup.id, "into": self.target.place(), "difference": difference })
    }

    /// Elsewhere, where nothing is in the way, nothing can be lost. The objects' own bucket may be in use.
    fn is_confirmed(&self) -> bool {
        let nothing = self.difference.create.objects == 0 && !self.changes_what_is_there();
        self.request.apply || nothing || !self.is_in_place && !self.changes_what_is_there()
    }

    async fn carry_out(self: Box<Self>, run: &Run, _: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        run.progress.set(crate::resources::Doing::default());
        run.progress.expect(self.difference.create.bytes + self.difference.overwrite.bytes);
        let done = run.until_cancelled(Box::pin(carry_out(run, &self))).await?;
        let mut lines = vec![format!(
            "restored {} to {}; {} were right already, {} were removed",
            done.written,
            self.target.place(),
            done.right.objects,
            done.removed.objects
        )];
        if done.left.objects > 0 {
            lines.push(format!("left {}: changed or come since the plan was made; restore again to see how", done.left));
            lines.extend(done.left_keys.lines(done.left.objects));
        }
        let text = lines.join("\n");
        let undone = usize::try_from(done.left.objects).unwrap_or(usize::MAX);
        let json = serde_json::to_value(done).expect("sums have string keys and no failing serializer");
        Ok(Restored { text, json, undone })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_backup_left_out_is_spoken_of_before_it_is_removed() {
        assert!(
            left_out_among(3, 1).is_some_and(|said| said.trim_start().starts_with("1 object(s) vanished or went on changing"))
        );
        assert_eq!((left_out_among(0, 1), left_out_among(3, 0)), (None, None));
    }
}
