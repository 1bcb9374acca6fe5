//! The SDK's client, with every option said.

use std::time::Duration;

use aws_config::BehaviorVersion;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{
    Builder, Credentials, Region, RequestChecksumCalculation, ResponseChecksumValidation, StalledStreamProtectionConfig,
};

use super::Options;

const CONNECT_LIMIT: Duration = Duration::from_secs(5);
const STALL_LIMIT: Duration = Duration::from_secs(60);

/// The region of services that do not care.
const ANY_REGION: &str = "us-east-1";

/// A client for these options. Reads the AWS default chain if keys or region are not given.
pub async fn connect(options: &Options) -> Client {
    let mut config = match (&options.credentials, region(options)) {
        (Some(keys), Some(region)) => Builder::new().credentials_provider(credentials(keys)).region(region),
        (keys, region) => from_default_chain(keys.as_ref(), region).await,
    };
    config.set_endpoint_url(options.endpoint.clone());
    let config = config
        .behavior_version(BehaviorVersion::v2026_01_12())
        .force_path_style(options.path_style.unwrap_or(options.endpoint.is_some()))
        // `retry` repeats, and knows what may be repeated.
        .retry_config(RetryConfig::disabled())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_LIMIT).build())
        .stalled_stream_protection(StalledStreamProtectionConfig::enabled().grace_period(STALL_LIMIT).build())
        // The checksum is computed here and sent as a plain header.
        .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
        .response_checksum_validation(ResponseChecksumValidation::WhenRequired);
    Client::from_conf(config.build())
}

fn region(options: &Options) -> Option<Region> {
    let given = options.region.clone().map(Region::new);
    given.or_else(|| options.endpoint.is_some().then(|| Region::from_static(ANY_REGION)))
}

fn credentials(keys: &super::Credentials) -> Credentials {
    Credentials::new(&keys.access_key_id, &keys.secret_access_key, keys.session_token.clone(), None, "holdfast")
}

async fn from_default_chain(keys: Option<&super::Credentials>, region: Option<Region>) -> Builder {
    let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
    if let Some(keys) = keys {
        loader = loader.credentials_provider(credentials(keys));
    }
    if let Some(region) = region {
        loader = loader.region(region);
    }
    Builder::from(&loader.load().await)
}
