//! What kind of server answers, and whether `target_session_attrs` accepts it.

use super::TargetSessionAttrs;

/// What a server can be used for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ServerRole {
    /// It is in recovery.
    pub(super) standby: bool,
    /// Transactions are read-only by default, or because it is a standby.
    pub(super) read_only: bool,
}

impl ServerRole {
    /// From what servers report by themselves since version 14 (`in_hot_standby`, `default_transaction_read_only`).
    pub(super) fn reported<'a>(parameter: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        let standby = parameter("in_hot_standby")? == "on";
        let read_only = parameter("default_transaction_read_only")? == "on";
        Some(Self { standby, read_only: standby || read_only })
    }

    /// Whether such a server will do. With `prefer-standby` a standby will; any other is tried last.
    pub(super) const fn satisfies(self, target: TargetSessionAttrs) -> bool {
        match target {
            TargetSessionAttrs::Any => true,
            TargetSessionAttrs::ReadWrite => !self.read_only,
            TargetSessionAttrs::ReadOnly => self.read_only,
            TargetSessionAttrs::Primary => !self.standby,
            TargetSessionAttrs::Standby | TargetSessionAttrs::PreferStandby => self.standby,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match (self.standby, self.read_only) {
            (true, _) => "a standby",
            (false, true) => "a read-only primary",
            (false, false) => "a primary",
        }
    }
}
