//! Encrypted connections, and those over a socket.

use std::fs;
use std::path::{Path, PathBuf};

use pg_fixtures::Scratch;
use pg_fixtures::redis::{Program, Redis};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

use super::site::Site;

/// An authority, and what it has signed for a server and a client.
struct Certificates {
    scratch: Scratch,
}

impl Certificates {
    fn new(server_names: &[&str]) -> Self {
        let scratch = Scratch::new();
        let key = KeyPair::generate().expect("a key");
        let mut parameters = CertificateParams::new(Vec::new()).expect("valid parameters");
        parameters.distinguished_name.push(DnType::CommonName, "an authority for tests");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(scratch.path().join("root.crt"), parameters.self_signed(&key).expect("a certificate").pem()).expect("written");
        let issuer = Issuer::new(parameters, key);
        for (name, names) in [("server", server_names), ("client", &[])] {
            let key = KeyPair::generate().expect("a key");
            let names = names.iter().map(ToString::to_string).collect::<Vec<_>>();
            let mut parameters = CertificateParams::new(names).expect("valid parameters");
            parameters.distinguished_name.push(DnType::CommonName, name);
            let certificate = parameters.signed_by(&key, &issuer).expect("a certificate");
            fs::write(scratch.path().join(format!("{name}.crt")), certificate.pem()).expect("written");
            fs::write(scratch.path().join(format!("{name}.key")), key.serialize_pem()).expect("written");
        }
        Self { scratch }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// A server with TLS on its second port, which asks for a client's certificate or not.
    fn server(&self, program: &Program, asks: &str) -> Redis {
        let mut server = Redis::stopped(program, "");
        server.configure(&format!(
            "tls-port {}\ntls-cert-file {}\ntls-key-file {}\ntls-ca-cert-file {}\ntls-auth-clients {asks}",
            server.tls_port(),
            self.path("server.crt").display(),
            self.path("server.key").display(),
            self.path("root.crt").display()
        ));
        server.restart();
        server.ask(&["SET", "a", "1"]);
        server
    }
}

fn line(key: &str, path: &Path) -> String {
    format!("{key} = \"{}\"\n", path.display())
}

#[test]
fn a_server_with_tls_is_backed_up_and_restored_into_with_certificates_that_are_checked() {
    let certificates = Certificates::new(&["localhost"]);
    let root = line("tls_root_certificate", &certificates.path("root.crt"));
    let own = line("tls_certificate", &certificates.path("client.crt")) + &line("tls_key", &certificates.path("client.key"));
    for program in [Program::named("redis"), Program::named("valkey-9")] {
        let (server, target) = (certificates.server(&program, "yes"), certificates.server(&program, "no"));
        target.ask(&["FLUSHALL"]);
        let url = |server: &Redis, host| format!("rediss://{host}:{}", server.tls_port());
        let site = Site::new(&url(&server, "localhost"), &format!("{root}{own}"));
        assert_eq!(site.backup()["keys"], 1);
        site.run(&["restore", "redis/cache", "--into", &url(&target, "localhost")]);
        assert_eq!(target.client().portrait(), server.client().portrait());
        for (url, section, words) in [
            (url(&server, "localhost"), root.as_str(), "tls_certificate"),
            (url(&server, "127.0.0.1"), &format!("{root}{own}"), "another name"),
            (url(&server, "localhost"), "", "tls_root_certificate"),
            (format!("redis://localhost:{}", server.tls_port()), "", "rediss://"),
        ] {
            site.configure(&url, section, "");
            let said = site.refusal(&["backup", "redis/cache"]);
            assert!(said.contains(words), "{url} {section}: {said}");
        }
        assert_eq!(site.listed(), 1);
    }
}

#[test]
fn a_server_is_reached_through_its_socket() {
    let server = Redis::start(&Program::named("redis"), "");
    server.ask(&["SET", "a", "1"]);
    let site = Site::new(&format!("unix://{}", server.socket().display()), "");
    assert_eq!(site.backup()["keys"], 1);
}
