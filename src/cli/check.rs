//! `holdfast check`: configuration, access, what is stored, what is shipping. Ends with 0, 1 (warning) or 2 (critical).

use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use super::live::{self, Silence};
use super::{Context, Outcome, context, exit};
use crate::agent::AgentStatus;
use crate::config::Config;
use crate::operations::check::{
    Finding, Level, REPOSITORY, check_cluster, check_encryption, check_repository, check_resource, worst,
};
use crate::operations::upkeep::{judge_upkeep, upkeep_status};
use crate::repository::{Repository, ResourceKind, ResourceName};
use crate::resources;
use crate::sys::clock;

/// What `check` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Only this one; all of them by default
    resource: Option<ResourceName>,
}

#[derive(Serialize)]
struct Report {
    level: Level,
    findings: Vec<Finding>,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    // Whoever watches the exit code must not take it for a warning.
    let config = context.config().map_err(|failure| failure.with_code(exit::CRITICAL))?;
    if options.resource.is_some() {
        config.resource(options.resource.as_ref()).map_err(|error| exit::Failure::from(error).with_code(exit::CRITICAL))?;
    }
    let bad = |failure: exit::Failure| (vec![Finding::bad(Level::Critical, REPOSITORY, failure.message, failure.hint)], None);
    let (mut findings, repository) = match context.repository_now(&config).await {
        Ok(repository) => check_repository(Arc::clone(repository.store()), config.repository.compression).await,
        Err(failure) => bad(failure),
    };
    let repository = repository.map(|repository| repository.with_encryption(context::encryption(&config)));
    if let Some(repository) = &repository {
        let resources: Vec<ResourceName> = config.resources().collect();
        findings.extend(check_encryption(repository, &resources, &config.encryption.identity_files).await);
    }
    // Whose it is cannot be told where the repository cannot be reached.
    let url = repository.as_ref().map(|repository| repository.store().url());
    let agent = live::status(config.agent.listen, url.as_deref()).await;
    for (resource, cluster) in config.clusters() {
        if options.resource.as_ref().is_none_or(|wanted| *wanted == resource) {
            let ours = agent.as_ref().ok().filter(|_| repository.is_some());
            let receiver = ours.and_then(|agent| agent.receiver(&resource));
            findings.extend(check_cluster(repository.as_ref(), &resource, cluster, receiver).await);
        }
    }
    for resource in resources::all(&config).iter().filter(|resource| resource.name().kind() != ResourceKind::Postgres) {
        if options.resource.as_ref().is_none_or(|wanted| wanted == resource.name()) {
            findings.extend(check_resource(repository.as_ref(), resource.as_ref()).await);
        }
    }
    if let Some(repository) = &repository {
        for resource in config.resources().filter(|resource| options.resource.as_ref().is_none_or(|wanted| wanted == resource)) {
            findings.extend(upkeep(repository, &config, &resource).await);
        }
    }
    let said = said_by(&agent).into_iter();
    findings.extend(said.filter(|finding| options.resource.as_ref().is_none_or(|wanted| wanted.to_string() == finding.object)));
    let report = Report { level: worst(&findings), findings };
    context.output.result(&report, text);
    Ok(match report.level {
        Level::Ok => exit::DONE,
        Level::Warning => exit::FAILED,
        Level::Critical => exit::CRITICAL,
    })
}

/// Whether what is to be done of itself is done.
async fn upkeep(repository: &Repository, config: &Config, resource: &ResourceName) -> Vec<Finding> {
    let objectives = config.upkeep(resource).map(|upkeep| upkeep.objectives).unwrap_or_default();
    match upkeep_status(repository, config, resource).await {
        Ok(status) => judge_upkeep(&status, objectives, clock::now()),
        Err(error) => vec![Finding::bad(Level::Critical, &resource.to_string(), error.to_string(), error.hint())],
    }
}

fn text(report: &Report) -> String {
    let line = |finding: &Finding| {
        let level = match finding.level {
            Level::Ok => "ok      ",
            Level::Warning => "WARNING ",
            Level::Critical => "CRITICAL",
        };
        let hint = finding.hint.as_ref().map(|hint| format!("\n          -> {hint}")).unwrap_or_default();
        format!("{level}  {}: {}{hint}", finding.object, finding.found)
    };
    report.findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// What the agent says of itself.
fn said_by(agent: &Result<AgentStatus, Silence>) -> Vec<Finding> {
    match agent {
        Ok(agent) => from_agent(agent),
        Err(Silence::Nobody) => Vec::new(),
        Err(stranger) => vec![Finding::bad(Level::Warning, "agent", stranger.to_string(), Some(Silence::HINT.to_owned()))],
    }
}

/// What a running agent knows and the repository does not tell: that the store takes nothing, that WAL waits.
fn from_agent(agent: &AgentStatus) -> Vec<Finding> {
    let mut findings = Vec::new();
    for receiver in &agent.clusters {
        let bad = |found: String, hint| Finding::bad(Level::Critical, &receiver.resource, found, hint);
        let troubles = receiver.store_trouble.iter().chain(&receiver.trouble);
        findings
            .extend(troubles.map(|trouble| bad(format!("the agent is in trouble: {}", trouble.message), trouble.hint.clone())));
        let warn = |warning: &String| Finding::bad(Level::Warning, &receiver.resource, warning.clone(), None);
        findings.extend(receiver.warnings.iter().map(warn));
    }
    findings
}
