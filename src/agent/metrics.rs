//! The status as Prometheus reads it (text format 0.0.4). Pure.

use std::fmt::Write;

use jiff::Timestamp;

use super::AgentStatus;
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
        let samples: Vec<String> = status.clusters.iter().filter_map(|cluster| sample(&metric, cluster)).collect();
        if !samples.is_empty() {
            head(&mut text, metric.name, metric.help);
            text.extend(samples);
        }
    }
    text
}

fn sample(metric: &Metric, cluster: &ReceiverStatus) -> Option<String> {
    Some(format!("{}{{resource=\"{}\"}} {}\n", metric.name, cluster.resource, (metric.value)(cluster)?))
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
    use crate::sys::clock;

    #[test]
    fn every_sample_has_its_head_and_its_resource() {
        let cluster = ReceiverStatus {
            resource: "postgres/main".to_owned(),
            state: State::Streaming,
            stored: Some(Lsn(0x1_0000_0000)),
            ..ReceiverStatus::default()
        };
        let status = AgentStatus::new(clock::now(), clock::now(), Some(4096), vec![cluster], vec![]);
        let text = render(&status);
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
