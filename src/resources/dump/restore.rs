//! Restores of a dump: into a database, into files, or to standard output.

mod database;
mod file;
mod privilege;

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use async_trait::async_trait;

use super::error::{Error, Result};
use super::inventory::detail;
use crate::config;
use crate::repository::{BackupEntry, ResourceName};
use crate::resources::{RestorePlan, Restored, Run};
use database::DatabasePlan;
use file::FilePlan;

/// What stands for standard output.
const STANDARD_OUTPUT: &str = "-";

/// What is wanted of a restore of a dump, besides the place.
#[derive(Debug, Clone, Default)]
pub struct RestoreRequest {
    /// Whether what is there may be replaced.
    pub apply: bool,
}

/// Where a dump is restored to.
#[derive(Debug)]
enum Place {
    Output,
    File(FilePlan),
    Database(Box<DatabasePlan>),
}

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    backup: BackupEntry,
    section: config::Dump,
    place: Place,
    confirmed: bool,
}

/// Finds out what a restore would do. A place with a slash in it is a file, unless it is a URI; one without is the name of a database.
pub(super) async fn plan(
    run: &Run,
    name: &ResourceName,
    section: &config::Dump,
    backup: &BackupEntry,
    to: Option<OsString>,
    request: &RestoreRequest,
) -> Result<Planned> {
    let to = to.ok_or(Error::NoPlace)?;
    detail(&run.repository, backup)?;
    let text = to.to_str().unwrap_or("/");
    let is_uri = text.starts_with("postgresql://") || text.starts_with("postgres://");
    let (place, replaces) = if to == STANDARD_OUTPUT {
        (Place::Output, false)
    } else if !is_uri && !text.contains('=') && text.contains('/') {
        let file = FilePlan::new(run, backup, &PathBuf::from(&to))?;
        let replaces = file.replaces();
        (Place::File(file), replaces)
    } else {
        let target = if is_uri || text.contains('=') { database::elsewhere(text)? } else { database::here(name, section, text)? };
        let database = DatabasePlan::new(run, section, backup, target).await?;
        let replaces = database.replaces();
        (Place::Database(Box::new(database)), replaces)
    };
    Ok(Planned { backup: backup.clone(), section: section.clone(), place, confirmed: request.apply || !replaces })
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let what = match &self.place {
            Place::Output => "to standard output".to_owned(),
            Place::File(file) => file.text(),
            Place::Database(database) => database.text(),
        };
        format!("backup {} of {}, {}, {what}", self.backup.id, self.backup.resource, self.backup.started_at)
    }

    fn json(&self) -> serde_json::Value {
        match &self.place {
            Place::Output => serde_json::json!({ "to": "standard output" }),
            Place::File(file) => file.json(),
            Place::Database(database) => database.json(),
        }
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    async fn carry_out(self: Box<Self>, run: &Run, output: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        let text = match &self.place {
            Place::Output => {
                run.until_cancelled(file::print(run, &self.backup, output)).await?;
                String::new()
            }
            Place::File(file) => run.until_cancelled(file.write(run, &self.backup)).await?,
            Place::Database(database) => database.carry_out(run, &self.section, &self.backup).await?,
        };
        Ok(Restored::whole(text, self.json()))
    }
}
