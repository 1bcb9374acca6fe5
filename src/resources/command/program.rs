//! A look at the program of a section, without running it.

use std::io;
use std::path::Path;

use nix::unistd::{AccessFlags, access};

use super::error::Result;
use crate::config;
use crate::sys::program::Error;

/// Finds out whether the program can be run; a warning where it is not found here, and may be elsewhere: the agent can have another `PATH`.
pub(super) fn look(section: &config::Command) -> Result<Option<String>> {
    let program = section.program();
    let cannot = |source| Error::Start { program: program.to_owned(), source };
    if let Some(directory) = &section.cwd {
        enterable(directory).map_err(cannot)?;
    }
    if program.contains('/') {
        let path = section.cwd.as_deref().unwrap_or(Path::new("")).join(program);
        runnable(&path).map_err(cannot)?;
        return Ok(None);
    }
    let directories = config::program_directories();
    let is_unknown = directories.is_empty() || section.env.contains_key("PATH");
    if is_unknown || directories.iter().any(|directory| runnable(&directory.join(program)).is_ok()) {
        return Ok(None);
    }
    Ok(Some(format!(
        "{program} is in no directory of the PATH here: unless the agent has another one, name its whole path in 'run'"
    )))
}

/// Nothing is listed there: who may enter a directory may not always read it.
fn enterable(directory: &Path) -> io::Result<()> {
    if !std::fs::metadata(directory)?.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    Ok(access(directory, AccessFlags::X_OK)?)
}

fn runnable(path: &Path) -> io::Result<()> {
    if std::fs::metadata(path)?.is_dir() {
        return Err(io::ErrorKind::IsADirectory.into());
    }
    Ok(access(path, AccessFlags::X_OK)?)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn look_for(run: &str, more: &str) -> Result<Option<String>> {
        look(&toml::from_str(&format!("run = [\"{run}\"]\n{more}")).expect("a section"))
    }

    #[test]
    fn a_program_that_cannot_be_run_is_noticed_before_it_is_run() {
        let folder = tempfile::tempdir().expect("a directory");
        let (path, place) = (folder.path().join("program"), folder.path().display());
        let named = path.display().to_string();
        let refused = |run: &str, more: &str| look_for(run, more).expect_err("it cannot be run").to_string();
        assert!(refused(&named, "").contains("No such file"));
        std::fs::write(&path, "#!/bin/sh\n").expect("a file");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).expect("its mode");
        assert!(refused(&named, "").contains("denied"), "{}", refused(&named, ""));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("its mode");
        assert_eq!(look_for(&named, "").expect("it can be run"), None);
        assert_eq!(look_for("./program", &format!("cwd = \"{place}\"")).expect("it can be run"), None);
        assert!(refused(&place.to_string(), "").contains("directory"));
        assert!(refused("sh", &format!("cwd = \"{place}/none\"")).contains("No such file"));
        assert!(refused("sh", &format!("cwd = \"{named}\"")).contains("not a directory"));
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o300)).expect("its mode");
        assert_eq!(look_for("./program", &format!("cwd = \"{place}\"")).expect("it can be entered"), None);
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).expect("its mode");
    }

    #[test]
    fn a_name_that_no_directory_of_the_path_has_deserves_a_look() {
        assert_eq!(look_for("sh", "").expect("it can be run"), None);
        let warning = look_for("no-such-program-anywhere", "").expect("elsewhere it may be there");
        assert!(warning.is_some_and(|warning| warning.contains("no directory of the PATH")));
        assert_eq!(look_for("no-such-program-anywhere", "env = { PATH = \"/opt\" }").expect("it may be there"), None);
    }
}
