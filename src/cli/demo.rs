//! `holdfast demo`: the whole story in a scratch directory, with a real server.

use clap::Args;

use super::exit::Failure;
use super::{Context, Outcome, exit};
use crate::operations::demo::{Options as DemoOptions, Summary, run as play};

/// What `demo` takes.
#[derive(Args)]
pub(super) struct Options {
    /// Leave the scratch directory in place
    #[arg(long)]
    keep: bool,
}

pub(super) async fn run(context: &Context, options: &Options) -> Outcome {
    let program = std::env::current_exe().map_err(|error| Failure::new(format!("the program does not find itself: {error}")))?;
    let options = DemoOptions { program, keep: options.keep };
    let summary = play(&options, &|line| context.output.note(line)).await;
    let summary = summary.map_err(|error| Failure::new(error.to_string()).with_hint(error.hint()))?;
    context.output.result(&summary, text);
    Ok(if summary.recovered() { exit::DONE } else { exit::FAILED })
}

fn text(summary: &Summary) -> String {
    let verdict = if summary.recovered() {
        "RECOVERED: every order that was there before the mistake is back, and nothing else."
    } else {
        "NOT RECOVERED: what came back differs from what was there."
    };
    let window = summary.loss_window_p99_s.map_or_else(|| "not measured".to_owned(), |seconds| format!("{seconds:.2} s"));
    let kept = summary.directory.as_ref().map(|path| format!("\n  kept in            {}", path.display())).unwrap_or_default();
    format!(
        "\n{verdict}\n\n  \
         orders before      {} (checksum {})\n  \
         orders restored    {} (checksum {})\n  \
         base backup        {:.1} s, while {} orders came in\n  \
         loss window        {window} from a commit to its WAL in the store (99 of 100 commits)\n  \
         restore            {:.1} s from the command to a server that answers{kept}",
        summary.before.orders,
        summary.before.md5,
        summary.after.orders,
        summary.after.md5,
        summary.backup_s,
        summary.orders_during_backup,
        summary.restore_s,
    )
}
