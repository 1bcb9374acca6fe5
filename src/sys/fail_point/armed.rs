//! The rules that are armed in this process, and what they do to it.

use std::io;
use std::sync::{Mutex, OnceLock, PoisonError};

use nix::sys::signal::{Signal, raise};

use super::rule::{Effect, Rule};

static RULES: OnceLock<Mutex<Vec<Rule>>> = OnceLock::new();

pub fn arm(rules: &str) -> Result<(), String> {
    let texts = rules.split(';').filter(|text| !text.trim().is_empty());
    let parsed: Result<Vec<Rule>, String> =
        texts.map(|text| Rule::parse(text).ok_or_else(|| format!("'{text}' is no rule: POINT OBJECT SKIP EFFECT"))).collect();
    RULES.set(Mutex::new(parsed?)).map_err(|_| "fail points are armed already".to_owned())
}

pub fn is_armed() -> bool {
    RULES.get().is_some()
}

pub fn reach(point: &'static str, object: impl FnOnce() -> String) -> io::Result<()> {
    let Some(rules) = RULES.get() else { return Ok(()) };
    let object = object();
    let struck = rules.lock().unwrap_or_else(PoisonError::into_inner).iter_mut().find_map(|rule| rule.strike(point, &object));
    match struck {
        None => Ok(()),
        Some(Effect::Fail) => {
            tracing::warn!(point, object, "a fail point fails");
            Err(io::Error::other(format!("fail point {point}")))
        }
        Some(Effect::Wait(time)) => {
            tracing::info!(point, object, "a fail point waits");
            std::thread::sleep(time);
            Ok(())
        }
        Some(Effect::Kill) => {
            tracing::warn!(point, object, "a fail point kills");
            raise(Signal::SIGKILL).ok();
            std::process::abort()
        }
    }
}
