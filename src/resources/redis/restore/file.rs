//! Restores into the file that a server loads when it starts.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::TryStreamExt;
use nix::unistd::geteuid;

use super::site::{append_only_traces, running_in};
use super::{Error, Result, Stored};
use crate::config::RedisPlace;
use crate::resources::place::check_replaceable;
use crate::resources::redis::message::Reply;
use crate::resources::redis::resource::Server;
use crate::resources::{RestorePlan, Restored, Run};
use crate::sys::durable::{Draft, Owner, parent_of};

/// What a server calls the file unless it is told otherwise (`dbfilename`).
const FILE_NAME: &str = "dump.rdb";
/// The mode of a file where none was.
const MODE: u32 = 0o640;
/// How long the configured server is asked for.
const ASK_LIMIT: Duration = Duration::from_secs(10);

/// What every restore into a file has to say.
const APPEND_ONLY: &str = "A server with 'appendonly yes' ignores this file, even where it has no append-only file: it starts empty. If yours has it:\n  \
    1. move appendonlydir (before Redis 7: appendonly.aof) away;\n  \
    2. start the server with 'appendonly no' in its configuration, and see that the keys are there;\n  \
    3. redis-cli CONFIG SET appendonly yes, and wait until INFO persistence shows aof_rewrite_in_progress:0;\n  \
    4. set 'appendonly yes' in its configuration again.";

/// A restore that was planned.
#[derive(Debug)]
pub(super) struct Planned {
    stored: Stored,
    file: PathBuf,
    replaces: bool,
    confirmed: bool,
    /// Whose it becomes, by number, and its mode.
    owner: Owner,
    mode: u32,
    warnings: Vec<String>,
}

/// Finds out what a restore would do.
pub(super) async fn plan(run: &Run, server: &Server, stored: Stored, to: &OsStr, apply: bool) -> Result<Planned> {
    let mut file = std::path::absolute(to).map_err(Error::file("find", Path::new(to)))?;
    if file.is_dir() {
        file.push(FILE_NAME);
    }
    let folder = parent_of(&file).to_owned();
    let folder_found = fs::metadata(&folder).map_err(Error::file("look at", &folder))?;
    check_replaceable(&file)?;
    let found = fs::symlink_metadata(&file).ok();
    let like = found.as_ref().unwrap_or(&folder_found);
    let owner = Owner { user: like.uid(), group: like.gid() };
    let mode = found.as_ref().map_or(MODE, |found| found.mode() & 0o777);
    if let Some(id) = running_in(&folder) {
        return Err(occupied(&folder, &format!("process {id}")));
    }
    let mut warnings: Vec<String> =
        append_only_traces(&folder).into_iter().map(|trace| format!("APPEND-ONLY: {trace}")).collect();
    run.progress.say("waiting for the configured server to say whether it runs there");
    // One that does not answer in time does not answer.
    warnings.extend(tokio::time::timeout(ASK_LIMIT, ask(server, &folder)).await.unwrap_or(Ok(None))?);
    let replaces = found.is_some();
    Ok(Planned { stored, file, replaces, confirmed: apply || !replaces, owner, mode, warnings })
}

fn occupied(folder: &Path, who: &str) -> Error {
    Error::NotRestored(
        format!("a server is running in {} ({who}): it would overwrite the file when it stops", folder.display()),
        "stop it first: redis-cli SHUTDOWN NOSAVE, or systemctl stop",
    )
}

/// Asks the configured server whether this is its directory. That it does not answer is what is hoped for.
async fn ask(server: &Server, folder: &Path) -> Result<Option<String>> {
    let place = server.section().location()?.place;
    let Ok((mut connection, facts)) = server.connect().await else { return Ok(None) };
    let is_here = match &place {
        RedisPlace::Unix(_) => true,
        RedisPlace::Tcp { host, .. } => ["localhost", "127.0.0.1", "::1"].contains(&host.as_str()),
    };
    let directory = match connection.command(&[b"CONFIG", b"GET", b"dir"]).await {
        Ok(Reply::Array(parts)) => parts.into_iter().nth(1),
        _ => None,
    };
    let same =
        matches!(directory, Some(Reply::Bulk(Some(directory))) if Path::new(&*String::from_utf8_lossy(&directory)) == folder);
    if is_here && same {
        return Err(occupied(folder, &connection.server));
    }
    let append_only = facts.is_some_and(|facts| facts.is_append_only());
    let said = if append_only { ", with 'appendonly yes'" } else { "" };
    Ok(Some(format!("{} is running{said}: stop it before, if the file is for it", connection.server)))
}

impl Planned {
    /// Writes the file beside its place and gives it its name when it is whole.
    async fn write(&self, run: &Run) -> Result<()> {
        let file = &self.file;
        let mut draft = Draft::begin(parent_of(file), 0o600).map_err(Error::file("create a file beside", file))?;
        let mut content = self.stored.content(run).await?;
        while let Some(piece) = content.try_next().await? {
            run.progress.done(piece.len() as u64);
            draft.write(&piece).map_err(Error::file("write", file))?;
        }
        if self.can_give_away() {
            draft.set_owner(self.owner).map_err(Error::file("give away", file))?;
        }
        draft.set_mode(self.mode).map_err(Error::file("set the mode of", file))?;
        // A server that was started meanwhile would overwrite it.
        if let Some(id) = running_in(parent_of(file)) {
            return Err(occupied(parent_of(file), &format!("process {id}")));
        }
        let synced = draft.sync().map_err(Error::file("sync", file))?;
        synced.replace(file).map_err(Error::file("name", file))
    }

    /// Only root can.
    fn can_give_away(&self) -> bool {
        geteuid().is_root()
    }

    fn owner_text(&self) -> String {
        let Owner { user, group } = self.owner;
        let text = format!("owner {user}:{group}, mode {:04o}", self.mode);
        if self.can_give_away() || user == geteuid().as_raw() {
            text
        } else {
            format!("{text} (only root can give it away: run chown)")
        }
    }
}

#[async_trait]
impl RestorePlan for Planned {
    fn text(&self) -> String {
        let what = if self.replaces { ", in place of what is there" } else { "" };
        let mut lines = vec![format!("{}, to {}{what}; {}", self.stored.text(), self.file.display(), self.owner_text())];
        lines.extend(self.warnings.iter().cloned());
        lines.join("\n")
    }

    fn json(&self) -> serde_json::Value {
        serde_json::json!({
            "to": self.file, "bytes": self.stored.object.plain_bytes, "keys": self.stored.detail.keys, "replaces": self.replaces,
            "user": self.owner.user, "group": self.owner.group, "mode": format!("{:04o}", self.mode), "warnings": self.warnings,
        })
    }

    fn is_confirmed(&self) -> bool {
        self.confirmed
    }

    async fn carry_out(self: Box<Self>, run: &Run, _: &mut (dyn Write + Send)) -> crate::resources::Result<Restored> {
        run.until_cancelled(self.write(run)).await?;
        let mut lines = vec![format!("restored to {} ({})", self.file.display(), self.owner_text())];
        lines.push(format!(
            "The server loads it when it starts, if its 'dir' and 'dbfilename' name it ({} or later).",
            self.version()
        ));
        lines.push(APPEND_ONLY.to_owned());
        Ok(Restored::whole(lines.join("\n"), self.json()))
    }
}

impl Planned {
    fn version(&self) -> String {
        format!("{} {}", self.stored.detail.server, self.stored.detail.server_version)
    }
}
