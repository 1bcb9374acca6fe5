//! What stands in the clear in front of encrypted WAL: positions and times, and no name that somebody gave.

use serde_json::Value;

use super::WalAbout;
use crate::pg::TimelineId;
use crate::pg::history::TimelineHistory;

/// Under this key stands the course of a timeline, in a history file's own form.
const HISTORY: &str = "history";
/// A course that takes more is left out: about a hundred timelines.
const HISTORY_BYTES_MAX: usize = 2 << 10;

/// What is revealed of an object; `plain` is its content.
pub(super) fn of(kind: &str, about: &WalAbout, plain: &[u8]) -> Value {
    let mut shown = about.clone();
    if let Some(activity) = &mut shown.activity {
        activity.omit_names();
    }
    let mut json = super::to_json(&shown);
    if let Some(course) = course(plain).filter(|_| kind == super::HISTORY_KIND) {
        json[HISTORY] = course.into();
    }
    json
}

/// The lines of a history file without their reasons, which can hold the name of a restore point.
fn course(content: &[u8]) -> Option<String> {
    let history = TimelineHistory::parse(TimelineId(u32::MAX), content).ok()?;
    let line = |ancestor: &crate::pg::history::Ancestor| format!("{}\t{}\n", ancestor.timeline.0, ancestor.end);
    let course: String = history.ancestors().iter().map(line).collect();
    (course.len() <= HISTORY_BYTES_MAX).then_some(course)
}

/// The course of a timeline, from what its object reveals.
pub(super) fn history(about: &Value) -> Option<&str> {
    about.get(HISTORY)?.as_str()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pg::records::{Activity, RestorePoint};
    use crate::pg::{Lsn, SystemId};
    use crate::repository::WalSource;
    use crate::sys::clock;

    fn about(activity: Option<Activity>) -> WalAbout {
        WalAbout { system_id: SystemId(7), source: WalSource::Streaming, start: Some(Lsn(1)), end: Some(Lsn(2)), activity }
    }

    #[test]
    fn names_are_left_out_and_counted() {
        let point = RestorePoint { name: "before the merger".into(), lsn: Lsn(1), end: Lsn(2), time: clock::now() };
        let activity = Activity { restore_points: vec![point], restore_points_omitted: 1, commits: 3, ..Activity::default() };
        let shown = of("wal-segment", &about(Some(activity)), b"");
        assert!(!shown.to_string().contains("merger"));
        let read: WalAbout = serde_json::from_value(shown).unwrap();
        let activity = read.activity.unwrap();
        assert_eq!((activity.commits, activity.restore_points.len(), activity.restore_points_omitted), (3, 0, 2));
    }

    #[test]
    fn a_history_keeps_its_course_and_not_its_reasons() {
        let content = b"1\t0/3000000\tat restore point \"before the merger\"\n2\t0/5000000\tno recovery target specified\n";
        let shown = of(super::super::HISTORY_KIND, &about(None), content);
        assert_eq!(history(&shown), Some("1\t0/3000000\n2\t0/5000000\n"));
        assert!(!shown.to_string().contains("merger"));
        assert_eq!(history(&of("wal-segment", &about(None), content)), None);
        let long: String = (1..200).map(|timeline| format!("{timeline}\tABCD/{timeline:08X}\treason\n")).collect();
        assert_eq!(history(&of(super::super::HISTORY_KIND, &about(None), long.as_bytes())), None);
    }
}
