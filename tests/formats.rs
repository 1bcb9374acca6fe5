//! PostgreSQL's formats as `holdfast::pg` reads them, against what PostgreSQL's own programs say of the same bytes.

#[path = "formats/base_backup.rs"]
mod base_backup;
#[path = "formats/control_file.rs"]
mod control_file;
#[path = "formats/records.rs"]
mod records;
#[path = "formats/recovery.rs"]
mod recovery;
