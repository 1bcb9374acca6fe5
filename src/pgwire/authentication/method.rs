//! The ways in which a server may ask for proof, and which of them `require_auth` allows.

use std::fmt;

/// How the server asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::pgwire) enum Method {
    /// Not at all (`trust`, `peer`, `cert`).
    None,
    Password,
    Md5,
    Scram,
    /// SCRAM bound to the TLS connection.
    ScramPlus,
}

impl Method {
    /// As `require_auth` calls it.
    const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Password => "password",
            Self::Md5 => "md5",
            Self::Scram | Self::ScramPlus => "scram-sha-256",
        }
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The value of `require_auth`: methods that alone are allowed, or, each after a `!`, methods that are not.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(in crate::pgwire) struct AllowedMethods {
    names: Vec<String>,
    negated: bool,
}

/// All that libpq knows; those that cannot be used here may be named all the same.
const NAMES: [&str; 7] = ["none", "password", "md5", "scram-sha-256", "gss", "sspi", "oauth"];

impl AllowedMethods {
    /// Reads the value of `require_auth`; `None` if it names an unknown method, or some with `!` and some without.
    pub(in crate::pgwire) fn parse(text: &str) -> Option<Self> {
        let entries: Vec<&str> = text.split(',').map(str::trim).filter(|entry| !entry.is_empty()).collect();
        let negated = entries.first().is_some_and(|entry| entry.starts_with('!'));
        let name = |entry: &&str| if negated { entry.strip_prefix('!') } else { Some(*entry) }.map(str::to_owned);
        let names = entries.iter().map(name).collect::<Option<Vec<_>>>()?;
        names.iter().all(|name| NAMES.contains(&name.as_str())).then_some(Self { names, negated })
    }

    pub(super) fn contains(&self, method: Method) -> bool {
        let named = self.names.iter().any(|name| name == method.name());
        self.names.is_empty() || named != self.negated
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn require_auth_as_libpq_reads_it() {
        let allowed = |text| AllowedMethods::parse(text).expect("a valid list");
        assert!(allowed("").contains(Method::None));
        assert!(allowed("scram-sha-256,md5").contains(Method::ScramPlus));
        assert!(!allowed("scram-sha-256").contains(Method::Password));
        assert!(!allowed("!password,!none").contains(Method::None));
        assert!(allowed("!password,!none").contains(Method::Md5));
        for text in ["scram", "!md5,password", "md5,!password"] {
            assert_eq!(AllowedMethods::parse(text), None, "{text}");
        }
    }
}
