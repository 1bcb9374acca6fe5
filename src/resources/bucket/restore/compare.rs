//! The objects of a backup, one after the other, each with what has to be done for it at the target. Decides, and changes nothing.

use super::super::error::Result;
use super::super::line::{Line, Lines};
use super::super::previous::open_listing;
use super::super::survey::{Mark, Survey};
use super::RestoreRequest;
use super::target::Target;
use crate::repository::{BackupEntry, Backups};
use crate::resources::Run;

/// What has to be done for an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// It is not there.
    Create,
    /// It is there and differs, and looks like this.
    Overwrite(Mark),
    /// It is right.
    Leave,
}

/// A step of a comparison.
pub(super) enum Step {
    /// An object of the backup.
    Object(Box<Line>, Action),
    /// A part of all names is done: what was not met there is not in the backup.
    PartEnded(Survey),
}

/// A comparison under way.
pub(super) struct Comparison<'a> {
    backups: Backups,
    backup: &'a BackupEntry,
    target: &'a Target,
    request: &'a RestoreRequest,
    part: u32,
    parts: u32,
    open: Option<(Survey, Lines)>,
}

impl<'a> Comparison<'a> {
    pub fn new(run: &Run, backup: &'a BackupEntry, target: &'a Target, request: &'a RestoreRequest) -> Self {
        let backups = run.repository.backups(&backup.resource);
        Self { backups, backup, target, request, part: 0, parts: 1, open: None }
    }

    /// The next step; none at the end.
    pub async fn next(&mut self) -> Result<Option<Step>> {
        loop {
            if self.open.is_none() && self.part == self.parts {
                return Ok(None);
            }
            let (survey, lines) = match &mut self.open {
                Some(open) => open,
                None => {
                    let survey = self.target.survey(self.part, self.parts, self.request).await?;
                    self.parts = survey.parts();
                    self.open.insert((survey, open_listing(&self.backups, self.backup).await?))
                }
            };
            let Some(line) = lines.next().await? else {
                self.part += 1;
                return Ok(self.open.take().map(|(survey, _)| Step::PartEnded(survey)));
            };
            let name = self.target.name(&line.key);
            if !self.request.wants(&line.key) || !survey.covers(&name) {
                continue;
            }
            let action = match survey.meet(&name) {
                None => Action::Create,
                // Of a key that is listed twice the first line counts.
                Some((_, true)) => continue,
                Some((mark, false)) if self.target.is_right(&line, &name, mark).await? => Action::Leave,
                Some((mark, false)) => Action::Overwrite(mark),
            };
            return Ok(Some(Step::Object(Box::new(line), action)));
        }
    }
}
