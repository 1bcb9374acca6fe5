//! What a server says in an ErrorResponse or a NoticeResponse.

use std::fmt;

use fallible_iterator::FallibleIterator;
use postgres_protocol::message::backend::ErrorFields;

/// An error, warning or notice of a server. The texts are in the server's language; the SQLSTATE is not.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServerMessage {
    /// `ERROR`, `FATAL`, `WARNING`, ...; never translated.
    pub severity: String,
    /// The five characters of the SQLSTATE.
    pub sqlstate: String,
    /// What it says.
    pub message: String,
    /// More of it.
    pub detail: Option<String>,
    /// What the server advises.
    pub hint: Option<String>,
}

impl ServerMessage {
    /// Reads the fields of an ErrorResponse or NoticeResponse (protocol documentation, "Error and Notice Message Fields").
    /// Bytes that are no UTF-8 are replaced: before the log-in is done the server's encoding is unknown.
    pub(super) fn read(mut fields: ErrorFields<'_>) -> std::io::Result<Self> {
        let mut answer = Self::default();
        while let Some(field) = fields.next()? {
            let text = String::from_utf8_lossy(field.value_bytes()).into_owned();
            match field.type_() {
                b'S' if answer.severity.is_empty() => answer.severity = text,
                b'V' => answer.severity = text,
                b'C' => answer.sqlstate = text,
                b'M' => answer.message = text,
                b'D' => answer.detail = Some(text),
                b'H' => answer.hint = Some(text),
                _ => {}
            }
        }
        Ok(answer)
    }
}

impl From<&tokio_postgres::error::DbError> for ServerMessage {
    fn from(error: &tokio_postgres::error::DbError) -> Self {
        Self {
            severity: error.severity().to_owned(),
            sqlstate: error.code().code().to_owned(),
            message: error.message().to_owned(),
            detail: error.detail().map(str::to_owned),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl fmt::Display for ServerMessage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.severity, self.sqlstate, self.message)?;
        if let Some(detail) = &self.detail {
            write!(f, " ({detail})")?;
        }
        Ok(())
    }
}
