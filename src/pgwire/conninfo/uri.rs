//! Connection strings that are URIs: `postgresql://user@host1:5433,host2/dbname?sslmode=require` (fe-connect.c
//! `conninfo_uri_parse_options`). They are turned into the same keywords and values.

use super::ConnInfoError;

/// The part after the scheme, if this is such a URI.
pub(super) fn strip_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// Splits the part after the scheme into keywords and values.
pub(super) fn split(text: &str) -> Result<Vec<(String, String)>, ConnInfoError> {
    let (place, parameters) = text.split_once('?').map_or((text, None), |(place, parameters)| (place, Some(parameters)));
    let (authority, dbname) = place.split_once('/').map_or((place, ""), |parts| parts);
    let (login, hosts) = authority.split_once('@').map_or((None, authority), |(login, hosts)| (Some(login), hosts));
    let mut pairs = Vec::new();
    let mut add = |keyword: &str, value: &str| -> Result<(), ConnInfoError> {
        if !value.is_empty() {
            pairs.push((keyword.to_owned(), decode(value)?));
        }
        Ok(())
    };
    if let Some(login) = login {
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        add("user", user)?;
        add("password", password)?;
    }
    let (hosts, ports) = split_hosts(hosts)?;
    add("host", &hosts)?;
    add("port", &ports)?;
    add("dbname", dbname)?;
    for parameter in parameters.into_iter().flat_map(|text| text.split('&')).filter(|text| !text.is_empty()) {
        pairs.push(split_parameter(parameter)?);
    }
    Ok(pairs)
}

/// The hosts and the ports, each as a list with commas; a list of nothing but commas is empty.
fn split_hosts(text: &str) -> Result<(String, String), ConnInfoError> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for entry in text.split(',') {
        let (host, port) = split_host(entry)?;
        hosts.push(host);
        ports.push(port);
    }
    let join = |list: Vec<&str>| if list.iter().all(|entry| entry.is_empty()) { String::new() } else { list.join(",") };
    Ok((join(hosts), join(ports)))
}

fn split_host(entry: &str) -> Result<(&str, &str), ConnInfoError> {
    let Some(rest) = entry.strip_prefix('[') else {
        return Ok(entry.split_once(':').unwrap_or((entry, "")));
    };
    let wrong = || ConnInfoError::Syntax("an IPv6 address in a URI is written as [::1] or [::1]:5432".into());
    let (address, port) = rest.split_once(']').ok_or_else(wrong)?;
    match port.strip_prefix(':') {
        Some(port) => Ok((address, port)),
        None if port.is_empty() => Ok((address, "")),
        None => Err(wrong()),
    }
}

fn split_parameter(text: &str) -> Result<(String, String), ConnInfoError> {
    let (keyword, value) = text
        .split_once('=')
        .filter(|(_, value)| !value.contains('='))
        .ok_or_else(|| ConnInfoError::Syntax("a URI's parameters are written as ?keyword=value&keyword=value".into()))?;
    let (keyword, value) = (decode(keyword)?, decode(value)?);
    // JDBC's spelling, which libpq reads too.
    if keyword == "ssl" && value == "true" {
        return Ok(("sslmode".into(), "require".into()));
    }
    Ok((keyword, value))
}

/// Decodes `%20` and the like.
fn decode(text: &str) -> Result<String, ConnInfoError> {
    let wrong =
        || ConnInfoError::Syntax("a '%' in a URI is followed by two hexadecimal digits, and is itself written %25".into());
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|digits| digits.bytes().all(|b| b.is_ascii_hexdigit())).ok_or_else(wrong)?;
        let byte = u8::from_str_radix(digits, 16).ok().filter(|byte| *byte != 0).ok_or_else(wrong)?;
        bytes.push(byte);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| ConnInfoError::Syntax("a URI holds text that is no UTF-8".into()))
}
