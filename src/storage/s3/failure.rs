//! What the service's errors, and the failures on the way to it, mean for a store.

use std::error::Error as _;

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};

use crate::storage::Failure;

/// The failure that an error stands for.
pub fn of<E>(error: &SdkError<E, HttpResponse>) -> Failure
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    match error {
        SdkError::ServiceError(service) => {
            answered(service.err().code(), service.err().message(), service.raw().status().as_u16())
        }
        SdkError::TimeoutError(_) => Failure::Unavailable("no connection within its time limit".to_owned()),
        SdkError::ResponseError(response) => unread(response.raw().status().as_u16(), &chain(error)),
        SdkError::ConstructionFailure(_) => not_sent(chain(error), Failure::Other),
        _ => not_sent(chain(error), Failure::Unavailable),
    }
}

/// The code of the service's answer, if there was one.
pub fn code<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> Option<&str> {
    error.as_service_error().and_then(ProvideErrorMetadata::code)
}

/// The status of the service's answer, if there was one.
pub fn status<E>(error: &SdkError<E, HttpResponse>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

/// Whether the service answered that it succeeded, and what it answered cannot be understood.
pub fn is_unreadable<E: ProvideErrorMetadata>(error: &SdkError<E, HttpResponse>) -> bool {
    status(error) == Some(200) && error.as_service_error().is_some_and(|answer| answer.code().is_none())
}

/// The failure that an answer stands for. Only the code `NoSuchKey` proves an object's absence: a bare 404 can come from anything.
fn answered(code: Option<&str>, message: Option<&str>, status: u16) -> Failure {
    let text = format!("{} {} (HTTP {status})", code.unwrap_or("an answer without a code"), message.unwrap_or_default());
    match (code.unwrap_or_default(), status) {
        ("NoSuchKey", _) => Failure::NotFound,
        ("NoSuchBucket", _) => Failure::NoStore(text),
        ("ExpiredToken" | "InvalidToken" | "TokenRefreshRequired" | "InvalidAccessKeyId" | "SignatureDoesNotMatch", _) => {
            Failure::Denied(text)
        }
        ("RequestTimeTooSkewed", _) => Failure::Denied(format!("{text}: set this host's clock")),
        ("InvalidObjectState", _) => Failure::Other(format!("{text}: the object is archived; restore it in the service first")),
        ("PermanentRedirect" | "AuthorizationHeaderMalformed" | "IllegalLocationConstraintException", _) | (_, 301 | 307) => {
            Failure::Other(format!("{text}: the bucket is in another region; correct 'region'"))
        }
        ("QuotaExceeded" | "XMinioStorageFull" | "InsufficientStorage" | "InsufficientCapacity", _) | (_, 507) => {
            Failure::Full(text)
        }
        // Damaged on the way there; the next attempt sends it whole.
        ("BadDigest" | "XAmzContentChecksumMismatch" | "XAmzContentSHA256Mismatch" | "IncompleteBody" | "RequestTimeout", _) => {
            Failure::Unavailable(text)
        }
        (_, 401 | 403) => Failure::Denied(text),
        (_, 408 | 409 | 429 | 499) => Failure::Unavailable(text),
        ("NotImplemented", _) | (_, 501) => Failure::Other(format!("{text}: the service lacks this operation")),
        (_, 500..) => Failure::Unavailable(text),
        _ => Failure::Other(text),
    }
}

/// An answer that could not be understood.
fn unread(status: u16, text: &str) -> Failure {
    match status {
        401 | 403 => Failure::Denied(format!("HTTP {status}: {text}")),
        400 | 404 | 405 => Failure::Other(format!("HTTP {status}: {text}: is the endpoint an S3 service?")),
        _ => Failure::Unavailable(format!("HTTP {status}: {text}")),
    }
}

/// Nothing was sent, or no answer came. The SDK tells missing keys from a missing network in words only.
fn not_sent(text: String, otherwise: impl FnOnce(String) -> Failure) -> Failure {
    let says = |words: &[&str]| words.iter().any(|word| text.contains(word));
    if says(&["credential provider was not enabled", "no providers in chain", "not properly configured", "no credentials"]) {
        Failure::Denied(format!("no usable credentials: {text}"))
    } else if says(&["loading credentials", "credentials provider timed out", "unexpected credentials error"]) {
        Failure::Unavailable(text)
    } else {
        otherwise(text)
    }
}

/// The error and its causes, in one line.
fn chain<E>(error: &SdkError<E, HttpResponse>) -> String
where
    E: std::error::Error + 'static,
{
    let mut words = vec![error.to_string()];
    let mut cause = error.source();
    while let Some(error) = cause {
        words.push(error.to_string());
        cause = error.source();
    }
    words.dedup();
    words.join(": ")
}

/// The words for an error of a body.
pub fn of_body(error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::Unavailable(format!("the answer broke off: {}", DisplayErrorContext(error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_services_own_word_proves_absence() {
        assert_eq!(answered(Some("NoSuchKey"), None, 404), Failure::NotFound);
        for (code, status) in [(None, 404), (Some("NotFound"), 404), (Some("NoSuchUpload"), 404), (Some("NoSuchBucket"), 404)] {
            assert_ne!(answered(code, None, status), Failure::NotFound, "{code:?}");
        }
    }

    #[test]
    fn each_answer_has_its_branch() {
        let branch = |code, status| std::mem::discriminant(&answered(Some(code), None, status));
        let text = String::new;
        for (code, status, expected) in [
            ("NoSuchBucket", 404, Failure::NoStore(text())),
            ("AccessDenied", 403, Failure::Denied(text())),
            ("ExpiredToken", 400, Failure::Denied(text())),
            ("SlowDown", 503, Failure::Unavailable(text())),
            ("InternalError", 500, Failure::Unavailable(text())),
            ("ConditionalRequestConflict", 409, Failure::Unavailable(text())),
            ("BadDigest", 400, Failure::Unavailable(text())),
            ("QuotaExceeded", 403, Failure::Full(text())),
            ("XMinioStorageFull", 507, Failure::Full(text())),
            ("NotImplemented", 501, Failure::Other(text())),
            ("PermanentRedirect", 301, Failure::Other(text())),
            ("InvalidRequest", 400, Failure::Other(text())),
        ] {
            assert_eq!(branch(code, status), std::mem::discriminant(&expected), "{code}");
        }
    }
}
