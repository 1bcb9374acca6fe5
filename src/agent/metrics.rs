//! The status as Prometheus reads it (text format 0.0.4). Pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::AgentStatus;
use super::scheduler::{JobState, JobStatus, KeptStatus};
use crate::pg::Lsn;
use crate::resources::postgres::archive::{ReceiverStatus, State};

/// A metric of one cluster.
struct Metric {
    name: &'static str,
    help: &'static str,
    value: fn(&ReceiverStatus) -> Option<f64>,
}

#[allow(clippy::cast_precision_loss)] // positions up to 2^53 are exact, and Prometheus has no other numbers
const METRICS: [Metric; 17] = [
    Metric {
        name: "holdfast_wal_streaming",
        help: "Whether WAL is being received.",
        value: |status| Some(f64::from(u8::from(matches!(status.state, State::Streaming | State::Stalled)))),
    },
    Metric {
        name: "holdfast_wal_stalled",
        help: "Whether nothing is read from the server because the store is behind.",
        value: |status| Some(f64::from(u8::from(status.state == State::Stalled))),
    },
    Metric { name: "holdfast_timeline", help: "The timeline.", value: |status| status.timeline.map(|id| f64::from(id.0)) },
    Metric {
        name: "holdfast_wal_server_lsn_bytes",
        help: "The end of the server's WAL.",
        value: |status| lsn(status.server_end),
    },
    Metric {
        name: "holdfast_wal_received_lsn_bytes",
        help: "The end of what was received.",
        value: |status| lsn(status.received),
    },
    Metric { name: "holdfast_wal_stored_lsn_bytes", help: "The end of what is stored.", value: |status| lsn(status.stored) },
    Metric { name: "holdfast_wal_lag_bytes", help: "WAL that is not stored yet.", value: |status| Some(status.lag_bytes as f64) },
    Metric {
        name: "holdfast_wal_last_stored_timestamp_seconds",
        help: "When something was stored last.",
        value: |status| seconds(status.last_stored_at),
    },
    Metric {
        name: "holdfast_wal_delay_p50_seconds",
        help: "From commit to stored, the median of the last minutes.",
        value: |status| status.delay.map(|delay| delay.p50_seconds),
    },
    Metric {
        name: "holdfast_wal_delay_p99_seconds",
        help: "From commit to stored, the 99th percentile of the last minutes.",
        value: |status| status.delay.map(|delay| delay.p99_seconds),
    },
    Metric {
        name: "holdfast_wal_delay_max_seconds",
        help: "From commit to stored, the longest of the last minutes.",
        value: |status| status.delay.map(|delay| delay.max_seconds),
    },
    Metric {
        name: "holdfast_slot_retained_bytes",
        help: "WAL that the replication slot holds back.",
        value: |status| status.slot.as_ref().map(|slot| slot.retained_bytes as f64),
    },
    Metric {
        name: "holdfast_slot_limit_bytes",
        help: "max_slot_wal_keep_size, where there is a limit.",
        value: |status| status.slot.as_ref()?.limit_bytes.map(|bytes| bytes as f64),
    },
    Metric {
        name: "holdfast_slot_lost_at_timestamp_seconds",
        help: "When the slot is lost if what it holds back goes on growing as it does.",
        value: |status| seconds(status.slot.as_ref()?.lost_at),
    },
    Metric {
        name: "holdfast_wal_open_gaps",
        help: "Gaps of which nobody has taken note.",
        value: |status| Some(status.open_gaps as f64),
    },
    Metric {
        name: "holdfast_wal_conflicts",
        help: "Segments for which two servers sent different WAL, of which nobody has taken note.",
        value: |status| Some(status.conflicts.len() as f64),
    },
    Metric { name: "holdfast_wal_gaps", help: "Gaps in the stored WAL.", value: |status| Some(status.gaps.len() as f64) },
];

/// A figure of what is kept of one resource.
struct Kept {
    name: &'static str,
    help: &'static str,
    value: fn(&KeptStatus) -> Option<f64>,
}

#[allow(clippy::cast_precision_loss)] // as above
const KEPT: [Kept; 6] = [
    Kept { name: "holdfast_backups", help: "Listed backups.", value: |kept| Some(kept.backups as f64) },
    Kept { name: "holdfast_backups_held", help: "Listed backups that are held.", value: |kept| Some(kept.held as f64) },
    Kept {
        name: "holdfast_backup_last_success_timestamp_seconds",
        help: "When the newest listed backup was complete.",
        value: |kept| seconds(Some(kept.newest.as_ref()?.finished_at)),
    },
    Kept {
        name: "holdfast_backup_last_duration_seconds",
        help: "How long the newest listed backup took.",
        value: |kept| kept.newest.as_ref().map(|newest| newest.finished_at.duration_since(newest.started_at).as_secs_f64()),
    },
    Kept {
        name: "holdfast_backup_last_size_bytes",
        help: "How much the newest listed backup has, before compression.",
        value: |kept| kept.newest.as_ref().map(|newest| newest.plain_bytes as f64),
    },
    Kept {
        name: "holdfast_backup_last_stored_bytes",
        help: "How much was stored for the newest listed backup.",
        value: |kept| kept.newest.as_ref().map(|newest| newest.stored_bytes as f64),
    },
];

/// A figure of one job of one resource.
struct JobMetric {
    name: &'static str,
    help: &'static str,
    value: fn(&JobStatus) -> Option<f64>,
}

const JOBS: [JobMetric; 4] = [
    JobMetric {
        name: "holdfast_job_running",
        help: "Whether it runs.",
        value: |job| Some(f64::from(u8::from(matches!(job.state, JobState::Running(_) | JobState::Elsewhere(_))))),
    },
    JobMetric { name: "holdfast_job_next_timestamp_seconds", help: "When it is due next.", value: |job| seconds(job.next_at) },
    JobMetric {
        name: "holdfast_job_last_timestamp_seconds",
        help: "When the last run ended, well or not.",
        value: |job| seconds(Some(job.last.as_ref()?.finished_at())),
    },
    JobMetric {
        name: "holdfast_job_failed_attempts",
        help: "How many runs have failed in a row; 0 if the last one did its work.",
        value: |job| job.last.as_ref().map(|run| if run.succeeded() { 0.0 } else { f64::from(run.attempt) }),
    },
];

#[allow(clippy::cast_precision_loss)] // as above
fn lsn(position: Option<Lsn>) -> Option<f64> {
    position.map(|position| position.0 as f64)
}

fn seconds(time: Option<Timestamp>) -> Option<f64> {
    time.map(|time| time.as_duration().as_secs_f64())
}

/// The text.
#[allow(clippy::cast_precision_loss)] // as above
pub(super) fn render(status: &AgentStatus) -> String {
    let mut text = String::new();
    agent_gauge(&mut text, "holdfast_healthy", "Whether everything does its work.", f64::from(u8::from(status.is_healthy())));
    if let Some(bytes) = status.resident_bytes {
        agent_gauge(&mut text, "holdfast_resident_bytes", "Resident memory.", bytes as f64);
    }
    for metric in METRICS {
        let Metric { name, help, value } = metric;
        let sample =
            |cluster: &ReceiverStatus| Some(format!("{name}{{resource=\"{}\"}} {}\n", cluster.resource, value(cluster)?));
        family(&mut text, name, help, status.clusters.iter().filter_map(sample));
    }
    for Kept { name, help, value } in &KEPT {
        let sample = |kept: &KeptStatus| Some(format!("{name}{{resource=\"{}\"}} {}\n", kept.resource, value(kept)?));
        family(&mut text, name, help, status.kept.iter().filter_map(sample));
    }
    for JobMetric { name, help, value } in &JOBS {
        let sample = |job: &JobStatus| {
            let (resource, kind) = (&job.resource, job.job.as_str());
            Some(format!("{name}{{resource=\"{resource}\",job=\"{kind}\"}} {}\n", value(job)?))
        };
        family(&mut text, name, help, status.jobs.iter().filter_map(sample));
    }
    text
}

/// The samples of one metric below their head; nothing where there are none.
fn family(text: &mut String, name: &str, help: &str, samples: impl Iterator<Item = String>) {
    let samples: String = samples.collect();
    if !samples.is_empty() {
        head(text, name, help);
        text.push_str(&samples);
    }
}

fn agent_gauge(text: &mut String, name: &str, help: &str, value: f64) {
    head(text, name, help);
    writeln!(text, "{name} {value}").expect("a string takes everything");
}

fn head(text: &mut String, name: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge").expect("a string takes everything");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::scheduler::NewestBackup;
    use crate::repository::{BackupId, Job};
    use crate::sys::clock;

    #[test]
    fn every_sample_has_its_head_and_its_resource() {
        let cluster = ReceiverStatus {
            resource: "postgres/main".to_owned(),
            state: State::Streaming,
            stored: Some(Lsn(0x1_0000_0000)),
            ..ReceiverStatus::default()
        };
        let at = |second: i64| Timestamp::from_second(1_800_000_000 + second).unwrap();
        let (id, started_at, finished_at) = (BackupId::new(at(0), 1), at(0), at(60));
        let newest = Some(NewestBackup { id, started_at, finished_at, plain_bytes: 2, stored_bytes: 1 });
        let resource = "redis/cache".to_owned();
        let kept = KeptStatus { resource: resource.clone(), backups: 3, held: 1, newest };
        let job = JobStatus { resource, job: Job::Backup, state: JobState::Waiting, next_at: Some(at(3600)), last: None };
        let status =
            AgentStatus::new(String::new(), clock::now(), clock::now(), Some(4096), vec![cluster], vec![job], vec![kept]);
        let text = render(&status);
        assert!(text.contains("\nholdfast_backups_held{resource=\"redis/cache\"} 1\n"), "{text}");
        assert!(text.contains("\nholdfast_backup_last_duration_seconds{resource=\"redis/cache\"} 60\n"), "{text}");
        assert!(
            text.contains("\nholdfast_job_next_timestamp_seconds{resource=\"redis/cache\",job=\"backup\"} 1800003600\n"),
            "{text}"
        );
        assert!(!text.contains("holdfast_job_failed_attempts"), "of a job that never ran it is not known");
        assert!(text.contains("\nholdfast_wal_stored_lsn_bytes{resource=\"postgres/main\"} 4294967296\n"), "{text}");
        assert!(text.contains("# TYPE holdfast_wal_streaming gauge\nholdfast_wal_streaming{resource=\"postgres/main\"} 1\n"));
        assert!(text.contains("\nholdfast_resident_bytes 4096\n"));
        assert!(!text.contains("holdfast_slot_limit_bytes"), "what is not known is not told");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let name = line.split(['{', ' ']).next().unwrap();
            assert!(text.contains(&format!("# TYPE {name} gauge\n")), "{line}");
        }
    }
}
