//! Channel binding: the `tls-server-end-point` of a certificate (RFC 5929, section 4.1).
//!
//! It is the hash of the whole certificate, with the hash function of the certificate's own signature; MD5 and SHA-1 are replaced by
//! SHA-256. So the certificate has to be read as far as its signature algorithm.

use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

/// Tags of DER.
const SEQUENCE: u8 = 0x30;
const OBJECT_IDENTIFIER: u8 = 0x06;
const CONTEXT_0: u8 = 0xA0;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Hash {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

/// The channel binding of a certificate in DER; `None` where its signature has no hash function of its own (Ed25519), for which none
/// is defined.
pub(in crate::pgwire) fn tls_server_end_point(certificate: &[u8]) -> Option<Vec<u8>> {
    Some(match signature_hash(certificate)? {
        Hash::Sha224 => Sha224::digest(certificate).to_vec(),
        Hash::Sha256 => Sha256::digest(certificate).to_vec(),
        Hash::Sha384 => Sha384::digest(certificate).to_vec(),
        Hash::Sha512 => Sha512::digest(certificate).to_vec(),
    })
}

/// Certificate ::= SEQUENCE { tbsCertificate, signatureAlgorithm SEQUENCE { algorithm, parameters }, signature } (RFC 5280).
fn signature_hash(certificate: &[u8]) -> Option<Hash> {
    let (content, _) = element(certificate, SEQUENCE)?;
    let (_, rest) = element(content, SEQUENCE)?;
    let (algorithm, _) = element(rest, SEQUENCE)?;
    let (identifier, parameters) = element(algorithm, OBJECT_IDENTIFIER)?;
    match identifier {
        // 1.2.840.113549.1.1: RSA (PKCS #1)
        [0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, scheme] => match scheme {
            4 | 5 | 11 => Some(Hash::Sha256),
            12 => Some(Hash::Sha384),
            13 => Some(Hash::Sha512),
            14 => Some(Hash::Sha224),
            10 => pss_hash(parameters),
            _ => None,
        },
        // 1.2.840.10045.4: ECDSA
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x01] => Some(Hash::Sha256),
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 1] => Some(Hash::Sha224),
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 2] => Some(Hash::Sha256),
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 3] => Some(Hash::Sha384),
        [0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x04, 0x03, 4] => Some(Hash::Sha512),
        _ => None,
    }
}

/// RSASSA-PSS-params ::= SEQUENCE { [0] hashAlgorithm DEFAULT sha1, ... } (RFC 4055).
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let (parameters, _) = element(parameters, SEQUENCE)?;
    let Some((hash, _)) = element(parameters, CONTEXT_0) else {
        return Some(Hash::Sha256);
    };
    let (hash, _) = element(hash, SEQUENCE)?;
    match element(hash, OBJECT_IDENTIFIER)?.0 {
        // 2.16.840.1.101.3.4.2: SHA-2
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 1] => Some(Hash::Sha256),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 2] => Some(Hash::Sha384),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 3] => Some(Hash::Sha512),
        [0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 4] => Some(Hash::Sha224),
        _ => None,
    }
}

/// The content of the first element, if it has this tag, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&found, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7F => (usize::from(first), rest),
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7F))?;
            (digits.iter().fold(0, |length, digit| length << 8 | usize::from(*digit)), rest)
        }
        _ => return None,
    };
    let parts = rest.split_at_checked(length)?;
    (found == tag).then_some(parts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    fn certificate(algorithm: &'static rcgen::SignatureAlgorithm) -> Vec<u8> {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let certificate = CertificateParams::new(["localhost".to_owned()]).expect("valid parameters").self_signed(&key);
        certificate.expect("a certificate").der().to_vec()
    }

    #[test]
    fn the_hash_is_the_one_of_the_signature() {
        assert_eq!(signature_hash(&certificate(&PKCS_ECDSA_P256_SHA256)), Some(Hash::Sha256));
        assert_eq!(signature_hash(&certificate(&PKCS_ECDSA_P384_SHA384)), Some(Hash::Sha384));
        assert_eq!(tls_server_end_point(&certificate(&PKCS_ED25519)), None);
    }

    #[test]
    fn no_prefix_of_a_certificate_makes_it_panic() {
        let certificate = certificate(&PKCS_ECDSA_P256_SHA256);
        for length in 0..certificate.len() {
            assert_eq!(signature_hash(&certificate[..length]), None);
        }
    }
}
