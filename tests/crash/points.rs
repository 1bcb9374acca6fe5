//! The fail points: before and after every step that makes something durable, or tells somebody that it is.

/// What is killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Process {
    Agent,
    Backup,
    Restore,
    Push,
    Init,
}

/// A step, in whose surroundings something is killed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Step {
    pub process: Process,
    /// What the step is, for people.
    pub name: &'static str,
    /// The names of its points.
    pub points: &'static [&'static str],
    /// The object that it is about, as `sys::fail_point` reads it.
    pub object: &'static str,
    /// So often it may happen unharmed at first.
    pub skip: u64,
}

const PUT: &[&str] = &["put.before", "put.after"];
const DELETE: &[&str] = &["delete.before", "delete.after"];
/// Of a file that is written beside its place and then named: a directory as a store has them.
pub const FILE: &[&str] = &["sync.before", "name.before", "name.after"];
const UPLOAD: &[&str] = &["upload.before", "upload.after", "write.before", "write.after"];
const FINISH: &[&str] = &["finish.before", "finish.after"];

const fn step(process: Process, name: &'static str, points: &'static [&'static str], object: &'static str, skip: u64) -> Step {
    Step { process, name, points, object, skip }
}

/// Steps of everyday life. Those of `init`, of a promotion and of a gap have their own occasions.
pub static STEPS: [Step; 18] = [
    step(Process::Agent, "put of a slice", PUT, ".slices/", 5),
    step(Process::Agent, "put of a segment", PUT, "/wal/!.slices/!history/", 2),
    step(Process::Agent, "deletion of a slice", DELETE, ".slices/", 4),
    step(Process::Agent, "report of the flush position", &["flush.before", "flush.after"], "any", 4),
    step(Process::Agent, "file of a store or socket", FILE, "any", 8),
    step(Process::Agent, "listing of what is stored", &["list.before", "list.after"], "any", 3),
    step(Process::Agent, "verdict for archive_command", &["verdict.before"], "any", 2),
    step(Process::Backup, "upload of a pack", UPLOAD, "/data/", 8),
    step(Process::Backup, "completion of a pack", FINISH, "/data/", 2),
    step(Process::Backup, "put of an index or manifest", PUT, "/data/", 2),
    step(Process::Backup, "catalog entry", PUT, "/backups/", 0),
    step(Process::Backup, "file of a store", FILE, "any", 6),
    step(Process::Restore, "file of a restored cluster", &["file.before"], "any", 1200),
    step(Process::Restore, "control file of a restored cluster", &["file.before"], "global/pg_control", 0),
    step(Process::Restore, "mark of an unfinished restore", &["remove.before"], "unfinished", 0),
    step(Process::Restore, "reading of a pack", &["get.before", "get.after"], "/data/", 12),
    step(Process::Push, "put of a pushed segment", PUT, "/wal/", 0),
    step(Process::Push, "file of a pushed segment", FILE, "any", 1),
];

/// Steps of `init`.
pub const INIT: [Step; 4] = [
    step(Process::Init, "mark of a repository", PUT, "holdfast.json", 0),
    step(Process::Init, "lineage record", PUT, "/lineages/", 0),
    step(Process::Init, "replication slot", &["slot.before", "slot.after"], "any", 0),
    step(Process::Init, "probe of the store", PUT, "!holdfast.json!/lineages/", 5),
];

/// Steps after a promotion.
pub const PROMOTION: Step = step(Process::Agent, "history file", PUT, "/history/", 0);
/// Steps after the slot was lost.
pub const GAP: Step = step(Process::Agent, "gap record", PUT, "/gaps/", 0);
