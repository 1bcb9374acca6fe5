//! Places where a test makes this process die, wait or fail: before and after every step that makes something durable.
//!
//! Only builds with debug assertions have them, which are the tests'. Everywhere else nothing can be armed, and `reach` is an empty
//! function. Stores are decorated with points by `storage::Pointed`; the few other steps name theirs themselves.

use std::io;

#[cfg(debug_assertions)]
mod armed;
#[cfg(debug_assertions)]
mod rule;

/// Arms points for the life of this process: rules separated by `;`, each of them `POINT OBJECT SKIP EFFECT`.
///
/// - `POINT` is a point's whole name (`put.after`), or `any`.
/// - `OBJECT` is a part of the name of the object concerned, or `any`; words after `!` must not be in it (`/wal/!.slices/`).
/// - `SKIP` is how many times the point is passed unharmed.
/// - `EFFECT` is `kill` (SIGKILL to this process), `fail` (this once), `fail*N` (N times), or `wait:MILLISECONDS` (every time).
///
/// # Errors
/// When a rule cannot be read, when points are armed already, and in a build that has none.
pub fn arm(rules: &str) -> Result<(), String> {
    #[cfg(debug_assertions)]
    return armed::arm(rules);
    #[cfg(not(debug_assertions))]
    return Err(format!("this build has no fail points, so '{rules}' would be ignored"));
}

/// Whether any point is armed.
#[must_use]
pub fn is_armed() -> bool {
    #[cfg(debug_assertions)]
    return armed::is_armed();
    #[cfg(not(debug_assertions))]
    return false;
}

/// Passes a point: `object` is what the step is about. May block, or not return.
///
/// # Errors
/// When a test wants the step to fail here.
#[inline]
pub fn reach(point: &'static str, object: impl FnOnce() -> String) -> io::Result<()> {
    #[cfg(debug_assertions)]
    return armed::reach(point, object);
    #[cfg(not(debug_assertions))]
    {
        let _ = (point, object);
        Ok(())
    }
}
