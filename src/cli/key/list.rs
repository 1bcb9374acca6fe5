//! `holdfast key list`: whom new objects are encrypted to, which identities are at hand, and what stored objects need.

use clap::Args;

use super::{Context, Outcome, exit};
use crate::cli::output::counted;
use crate::operations::keys::{self, Keys, Needed};

/// What `key list` takes.
#[derive(Args)]
pub(in crate::cli) struct Options {}

pub(super) async fn run(context: &Context, _options: &Options) -> Outcome {
    let config = context.config()?;
    let repository = context.repository(&config).await?;
    let resources: Vec<_> = config.resources().collect();
    let keys = keys::look(&repository, &resources).await?;
    context.output.result(&keys, text);
    Ok(exit::DONE)
}

fn text(keys: &Keys) -> String {
    let mut lines = vec!["new objects are encrypted to:".to_owned()];
    let at_hand = |name: &String| if keys.identities.contains(name) { "  (its identity is at hand)" } else { "" };
    lines.extend(keys.recipients.iter().map(|name| format!("  {name}{}", at_hand(name))));
    if keys.recipients.is_empty() {
        lines.push("  nobody: they are stored in the clear".to_owned());
    }
    lines.push("identities at hand:".to_owned());
    lines.extend(keys.identities.iter().map(|name| format!("  of {name}")));
    match &keys.identity_problem {
        Some(problem) => lines.push(format!("  {problem}")),
        None if keys.identities.is_empty() => lines.push("  none is configured here".to_owned()),
        None => {}
    }
    lines.push(format!("stored (of {} looked at):", counted(keys.looked_at(), "object")));
    lines.extend(keys.stored.iter().map(needed));
    lines.join("\n")
}

fn needed(needed: &Needed) -> String {
    let Needed { recipients, objects, example, opens } = needed;
    match (recipients.is_empty(), opens) {
        (true, _) => format!("  {objects} in the clear, such as {example}"),
        (false, true) => format!("  {objects} that open here, encrypted to {}, such as {example}", recipients.join(", ")),
        (false, false) => {
            format!("  {objects} that DO NOT OPEN here, encrypted to {}, such as {example}", recipients.join(", "))
        }
    }
}
