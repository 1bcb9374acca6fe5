//! What an S3 store is told.

use std::fmt;

use crate::storage::retry::Policy;

/// Where the bucket is and how to talk to it.
#[derive(Clone, Debug)]
pub struct Options {
    /// The bucket's name.
    pub bucket: String,
    /// What every key begins with in the bucket, without slashes around it; may be empty.
    pub prefix: String,
    /// The service's URL; `None` is AWS itself.
    pub endpoint: Option<String>,
    /// The region; `None`: as the AWS default chain says, and `us-east-1` for an endpoint of one's own.
    pub region: Option<String>,
    /// Whether the bucket stands in the path instead of the host name; `None`: only for an endpoint of one's own.
    pub path_style: Option<bool>,
    /// `STANDARD_IA`, `GLACIER_IR`, ...; `None`: the bucket's default.
    pub storage_class: Option<String>,
    /// Encryption by the service; `None`: the bucket's default.
    pub encryption: Option<Encryption>,
    /// Keys; `None`: by the AWS default chain (environment, profile, web identity, container, instance).
    pub credentials: Option<Credentials>,
    /// Whether the service is given a checksum of each upload to verify.
    pub checksum: UploadChecksum,
    /// How parts of an upload are tried again.
    pub retry: Policy,
}

impl Options {
    /// A bucket of AWS, everything else by default.
    #[must_use]
    pub fn new(bucket: impl Into<String>, prefix: &str) -> Self {
        Self {
            bucket: bucket.into(),
            prefix: prefix.trim_matches('/').to_owned(),
            endpoint: None,
            region: None,
            path_style: None,
            storage_class: None,
            encryption: None,
            credentials: None,
            checksum: UploadChecksum::Crc32,
            retry: Policy::default(),
        }
    }

    /// Whether requests travel unencrypted.
    pub(super) fn is_plain_http(&self) -> bool {
        self.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"))
    }
}

/// Encryption by the service.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Encryption {
    /// With the service's own key (`AES256`).
    Aes256,
    /// With a key of the key management service (`aws:kms`); `None`: its default key.
    Kms {
        /// The key's id or ARN.
        key_id: Option<String>,
    },
}

/// The checksum that the service verifies each upload with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UploadChecksum {
    /// CRC-32, in a header of its own: services that do not know it ignore it. (The SDK's own way, a trailer in a chunked body,
    /// is what many services other than AWS trip over.)
    Crc32,
    /// None: for a service that rejects the header.
    None,
}

/// Access keys.
#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    /// The access key's id.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// The token of temporary keys.
    pub session_token: Option<String>,
}

/// Nothing of them.
impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials").finish_non_exhaustive()
    }
}
