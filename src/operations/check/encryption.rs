//! Whether what is stored is as secret as it is meant to be, and can be opened where it has to be.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{Finding, Level};
use crate::operations::keys::{self, Keys, Needed};
use crate::repository::{Repository, ResourceName};

/// What these findings are about.
const ENCRYPTION: &str = "encryption";

/// Looks at recipients and identities, and at a sample of what is stored. Nothing is found where nothing is, or is to be, encrypted.
pub async fn check_encryption(repository: &Repository, resources: &[ResourceName], identity_files: &[PathBuf]) -> Vec<Finding> {
    let keys = match keys::look(repository, resources).await {
        Ok(keys) => keys,
        Err(error) => return vec![Finding::bad(Level::Critical, ENCRYPTION, error.to_string(), error.hint())],
    };
    let expects_identities = !identity_files.is_empty();
    let mut findings: Vec<Finding> = recipients(&keys).into_iter().chain(identities(&keys, expects_identities)).collect();
    findings.extend(keys.stored.iter().filter_map(|needed| stored(needed, &keys, expects_identities)));
    findings.extend(identity_files.iter().filter_map(|file| readable_for_others(file)));
    if !keys.recipients.is_empty() && keys.identities.is_empty() {
        findings.extend(resources.iter().filter(|resource| resource.kind().shares_content()).map(reads_everything));
    }
    findings
}

fn recipients(keys: &Keys) -> Option<Finding> {
    if !keys.recipients.is_empty() {
        return Some(Finding::ok(ENCRYPTION, format!("new objects are encrypted to {}", keys.recipients.join(", "))));
    }
    let encrypted = keys.stored.iter().any(|needed| !needed.recipients.is_empty());
    encrypted.then(|| {
        let found = "no recipients are configured: new objects are stored in the clear, beside older ones that are encrypted";
        warning(found.to_owned(), "configure recipients in [encryption]")
    })
}

fn identities(keys: &Keys, expected: bool) -> Option<Finding> {
    if let Some(problem) = &keys.identity_problem {
        return Some(warning(problem.clone(), "until that is mended nothing encrypted can be restored here"));
    }
    if !expected {
        let found =
            "no identity is configured here: this host can write and not read; restores and drills have to run where one is";
        return (!keys.recipients.is_empty()).then(|| Finding::ok(ENCRYPTION, found));
    }
    let fits = keys.recipients.is_empty() || keys.recipients.iter().any(|name| keys.identities.contains(name));
    if fits {
        return Some(Finding::ok(ENCRYPTION, format!("identities at hand: {}", keys.identities.join(", "))));
    }
    let found = format!("none of the identities here ({}) opens what is stored from now on", keys.identities.join(", "));
    Some(warning(found, "add a recipient whose identity is here, or name its file as identity_file"))
}

fn stored(needed: &Needed, keys: &Keys, expects_identities: bool) -> Option<Finding> {
    let Needed { recipients, objects, example, opens } = needed;
    if recipients.is_empty() && !keys.recipients.is_empty() {
        let found = format!("{objects} of {} objects looked at lie in the clear, such as {example}", keys.looked_at());
        return Some(warning(
            found,
            "they were stored before encryption was configured, and stay so until retention removes them",
        ));
    }
    let locked = !opens && expects_identities && keys.identity_problem.is_none();
    locked.then(|| {
        let found =
            format!("{objects} of {} objects looked at need an identity that is not here, such as {example}", keys.looked_at());
        warning(found, &format!("name a file with one of these as identity_file: {}", recipients.join(", ")))
    })
}

fn reads_everything(resource: &ResourceName) -> Finding {
    let found = "no identity is at hand here to read the backup before: each backup reads and stores everything again";
    let hint = "name an identity_file where this resource is backed up, or give it a schedule and a 'keep' that allow for it";
    Finding::bad(Level::Warning, &resource.to_string(), found, Some(hint.to_owned()))
}

fn readable_for_others(file: &Path) -> Option<Finding> {
    let mode = std::fs::metadata(file).ok()?.permissions().mode() & 0o7777;
    (mode & 0o077 != 0).then(|| {
        let found = format!("the identity file {} has mode {mode:04o}: others than its owner may read it", file.display());
        warning(found, "chmod 600, unless its group is meant to read it")
    })
}

fn warning(found: String, hint: &str) -> Finding {
    Finding::bad(Level::Warning, ENCRYPTION, found, Some(hint.to_owned()))
}
