//! Endpoints of object stores: whether two names are those of one service.

use std::net::{IpAddr, ToSocketAddrs};

/// All of AWS is one service: a name there is that of one bucket, whatever the region.
const AWS: &str = "amazonaws.com";

/// Whether two endpoints are written in such a way that they are one. None: that of AWS.
pub(super) fn is_same(one: Option<&str>, other: Option<&str>) -> bool {
    address(one) == address(other)
}

/// Whether two endpoints are one service: by what is written, or by where their hosts are found.
pub(super) fn is_same_service(one: Option<&str>, other: Option<&str>) -> bool {
    let (one, other) = (address(one), address(other));
    let found = found(&one);
    one == other || one.1 == other.1 && self::found(&other).iter().any(|place| found.contains(place))
}

/// The host and the port.
fn address(endpoint: Option<&str>) -> (String, u16) {
    let Some(endpoint) = endpoint else { return (AWS.to_owned(), 443) };
    let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", endpoint));
    let default = if scheme.eq_ignore_ascii_case("http") { 80 } else { 443 };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let numbered = authority.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
    let (host, port) = numbered.unwrap_or((&authority, default));
    let host = host.trim_matches(['[', ']']).trim_end_matches('.');
    let is_aws = host == AWS || host.ends_with(".amazonaws.com");
    if is_aws { (AWS.to_owned(), 443) } else { (host.to_owned(), port) }
}

fn found(address: &(String, u16)) -> Vec<IpAddr> {
    let found = (address.0.as_str(), address.1).to_socket_addrs();
    found.map(|places| places.map(|place| place.ip()).collect()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_service_has_many_names() {
        for (one, other) in [
            ("https://S3.example.com", "https://s3.example.com:443/"),
            ("http://host", "http://host:80"),
            ("http://[::1]:8333", "http://[::1]:8333/"),
            ("https://s3.eu-central-1.amazonaws.com", "https://s3.amazonaws.com"),
        ] {
            assert!(is_same(Some(one), Some(other)), "{one} {other}");
        }
        assert!(is_same(None, Some("https://s3.us-east-1.amazonaws.com")));
        for (one, other) in [("http://host:1", "http://host:2"), ("http://a", "http://b"), ("http://host", "https://host")] {
            assert!(!is_same(Some(one), Some(other)), "{one} {other}");
        }
        assert!(!is_same(Some("http://127.0.0.1:8333"), None));
        assert!(is_same_service(Some("http://localhost:8333"), Some("http://127.0.0.1:8333")));
        assert!(!is_same_service(Some("http://localhost:8333"), Some("http://127.0.0.1:8334")));
    }
}
