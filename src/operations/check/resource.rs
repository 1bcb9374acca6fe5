//! One resource that is no cluster: can it be read, is there a backup.

use super::{Finding, Level};
use crate::operations::resources::resource_status;
use crate::operations::running_backup;
use crate::repository::{Damaged, Repository};
use crate::resources::Resource;

/// Looks at one resource.
pub async fn check_resource(repository: Option<&Repository>, resource: &dyn Resource) -> Vec<Finding> {
    let object = resource.name().to_string();
    let mut findings = match resource.plan().await {
        Ok(plan) => {
            let warning = |text| Finding::bad(Level::Warning, &object, text, None);
            let found = Finding::ok(&object, plan.found);
            std::iter::once(found).chain(plan.warnings.into_iter().map(warning)).collect()
        }
        Err(error) => vec![Finding::bad(Level::Critical, &object, error.to_string(), error.hint())],
    };
    if let Some(repository) = repository {
        findings.extend(check_stored(repository, resource).await);
    }
    findings
}

async fn check_stored(repository: &Repository, resource: &dyn Resource) -> Vec<Finding> {
    let object = resource.name().to_string();
    let status = match resource_status(repository, resource.name()).await {
        Ok(status) => status,
        Err(error) => return vec![Finding::bad(Level::Critical, &object, error.to_string(), error.hint())],
    };
    let newest = match status.recoverable_to {
        Some(time) => Finding::ok(&object, format!("can be brought back as it was at {time}")),
        None => {
            let hint = Some(running_backup::wanted(resource.name(), status.running_backup.as_ref()));
            Finding::bad(Level::Critical, &object, "there is no backup: nothing can be brought back", hint)
        }
    };
    let damaged = |record: &Damaged| Finding::bad(Level::Critical, &object, record.to_string(), Some(record.hint().to_owned()));
    std::iter::once(newest).chain(status.damaged.iter().map(damaged)).collect()
}
