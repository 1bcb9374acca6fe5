//! The command line: one file per verb, and `output` for everything that is printed.
//!
//! Invariants: a verb parses, calls the layers below and prints; it decides nothing that they could. Results go to stdout, progress
//! and errors to stderr. Every error ends the program with a code of `exit`, its message, and what to do next.

mod agent;
mod arguments;
mod backup;
mod backups;
mod check;
mod context;
mod demo;
mod exit;
mod expire;
mod hold;
mod init;
mod key;
mod live;
mod output;
mod restore;
mod running;
mod signals;
mod status;
mod verify;
mod wal;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Verb};
use context::Context;
use exit::Failure;
use output::Output;

use crate::config;
use crate::sys::fail_point;

/// What a verb that did not fail ends with.
type Outcome = Result<u8, Failure>;

/// Runs the command line of this process.
#[must_use]
pub fn run() -> ExitCode {
    let code_min = if wal::stands_for_restore_command(std::env::args_os()) { exit::guard_restore_command() } else { 0 };
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return output::usage(&error, code_min),
    };
    let output = Output::new(arguments.common.output, arguments.common.quiet).with_code_min(code_min);
    output::logging(&arguments.common);
    if let Err(message) = config::fail_points().map_or(Ok(()), |rules| fail_point::arm(&rules)) {
        return output.failure(&Failure::new(format!("HOLDFAST_FAIL_POINTS: {message}")));
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return output.failure(&Failure::new(format!("the runtime cannot be started: {error}"))),
    };
    match runtime.block_on(dispatch(arguments, output)) {
        Ok(code) => ExitCode::from(code),
        Err(failure) => output.failure(&failure),
    }
}

async fn dispatch(arguments: Arguments, output: Output) -> Outcome {
    let context = Context::new(arguments.common.config, output);
    match arguments.verb {
        Verb::Demo(options) => demo::run(&context, &options).await,
        Verb::Init(options) => init::run(&context, &options).await,
        Verb::Backup(options) => backup::run(&context, &options).await,
        Verb::Backups(options) => backups::run(&context, &options).await,
        Verb::Agent(options) => agent::run(&context, &options).await,
        Verb::Restore(options) => restore::run(&context, &options).await,
        Verb::Verify(options) => verify::run(&context, &options).await,
        Verb::Expire(options) => expire::run(&context, &options).await,
        Verb::Hold(options) => hold::hold(&context, &options).await,
        Verb::Release(options) => hold::release(&context, &options).await,
        Verb::Wal(options) => wal::run(&context, &options).await,
        Verb::Key(command) => key::run(&context, &command).await,
        Verb::Check(options) => check::run(&context, &options).await,
        Verb::Status(options) => status::run(&context, &options).await,
    }
}
