//! TLS from clients.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use agw_config::{ClientAuth, ListenerTls, Pem, Secret, ServerCertificate, TlsVersion};
use agw_proxy::{Proxy, ProxyOptions};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::support::{Gateway, PATIENCE, Setup, accept, http2_over, manual_upstream, ok, upstream};

/// Signs certificates for one test.
struct Authority(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
struct Issued {
    chain: String,
    key: String,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Authority(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    fn pem(&self) -> String {
        self.0.pem()
    }

    fn issue(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Issued {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        Issued { chain: certificate.pem(), key: key.serialize_pem() }
    }

    fn client(&self) -> Client {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.pem().as_bytes()).unwrap()).unwrap();
        Client { roots, identity: None, alpn: Vec::new(), versions: rustls::ALL_VERSIONS }
    }
}

struct Client {
    roots: rustls::RootCertStore,
    identity: Option<Issued>,
    alpn: Vec<&'static str>,
    versions: &'static [&'static rustls::SupportedProtocolVersion],
}

impl Client {
    async fn connect(self, gateway: &Gateway, name: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .unwrap()
            .with_root_certificates(self.roots);
        let mut config = match self.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => builder
                .with_client_auth_cert(
                    vec![CertificateDer::from_pem_slice(identity.chain.as_bytes()).unwrap()],
                    PrivateKeyDer::from_pem_slice(identity.key.as_bytes()).unwrap(),
                )
                .unwrap(),
        };
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let connecting = TlsConnector::from(Arc::new(config)).connect(name, stream);
        timeout(PATIENCE, connecting).await.expect("no handshake")
    }
}

fn inline(issued: &Issued) -> ServerCertificate {
    let pem = |text: &str| Pem { text: Secret::new(text), file: None };
    ServerCertificate { chain: pem(&issued.chain), key: pem(&issued.key) }
}

fn with(mut setup: Setup, certificates: Vec<ServerCertificate>) -> Setup {
    setup.listener.tls = Some(ListenerTls { certificates, client_auth: None, min_version: TlsVersion::V1_2 });
    setup
}

fn tls(setup: &mut Setup) -> &mut ListenerTls {
    setup.listener.tls.as_mut().unwrap()
}

/// One request on a connection that ends with it.
async fn get(mut stream: TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("no answer").unwrap();
    answer
}

#[tokio::test]
async fn both_versions_are_agreed_on_by_alpn() {
    let authority = Authority::new();
    let address = upstream(|request| ok(&request.head)).await;
    let gateway = with(Setup::to(address), vec![inline(&authority.issue(&["a.test"], |_| {}))]).start();
    for (offered, agreed) in
        [(vec!["h2", "http/1.1"], Some("h2")), (vec!["http/1.1"], Some("http/1.1")), (vec![], None)]
    {
        let client = Client { alpn: offered, ..authority.client() };
        let stream = client.connect(&gateway, "a.test").await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
        let seen = if agreed == Some("h2") {
            http2_over(stream).await.0.get("/").await.1
        } else {
            get(stream).await
        };
        assert!(seen.contains("x-forwarded-proto: https"), "{seen}");
    }
    gateway.wait_for_metric(r#"agw_tls_handshakes_total{listener="main",outcome="ok"} 3"#).await;
    let client = Client { alpn: vec!["spdy/3"], ..authority.client() };
    assert!(client.connect(&gateway, "a.test").await.is_err());
    gateway.wait_for_metric(r#"agw_tls_handshakes_total{listener="main",outcome="failed"} 1"#).await;
}

#[tokio::test]
async fn a_client_gets_the_certificate_of_the_name_it_asks_for() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(&["a.test"], |_| {}), authority.issue(&["*.b.test"], |_| {}));
    let gateway = with(Setup::echo(), vec![inline(&first), inline(&second)]).start();
    for name in ["a.test", "x.b.test"] {
        let stream = authority.client().connect(&gateway, name).await.unwrap();
        assert!(get(stream).await.starts_with("HTTP/1.1 200"));
    }
    let error = authority.client().connect(&gateway, "c.test").await.unwrap_err();
    assert!(error.to_string().contains("certificate not valid for name"), "{error}");
}

static OLD: &[&rustls::SupportedProtocolVersion] = &[&rustls::version::TLS12];

#[tokio::test]
async fn an_old_version_is_refused() {
    let authority = Authority::new();
    let mut setup = with(Setup::echo(), vec![inline(&authority.issue(&["a.test"], |_| {}))]);
    tls(&mut setup).min_version = TlsVersion::V1_3;
    let gateway = setup.start();
    let old = Client { versions: OLD, ..authority.client() };
    assert!(old.connect(&gateway, "a.test").await.is_err());
    assert!(authority.client().connect(&gateway, "a.test").await.is_ok());
}

#[tokio::test]
async fn a_client_without_a_trusted_certificate_is_refused_if_one_is_required() {
    let (authority, stranger) = (Authority::new(), Authority::new());
    for required in [true, false] {
        let mut setup = with(Setup::echo(), vec![inline(&authority.issue(&["a.test"], |_| {}))]);
        let ca = Pem { text: Secret::new(authority.pem()), file: None };
        tls(&mut setup).client_auth = Some(ClientAuth { ca, required });
        let gateway = setup.start();
        let shown = |from: &Authority| {
            let issued = from.issue(&["client"], |params| {
                params.distinguished_name.push(DnType::CommonName, "client");
            });
            Client { identity: Some(issued), ..authority.client() }
        };
        let answer = get(shown(&authority).connect(&gateway, "a.test").await.unwrap()).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert!(!is_served(shown(&stranger), &gateway).await);
        assert_eq!(is_served(authority.client(), &gateway).await, !required);
    }
}

/// With TLS 1.3 a client learns only from its first read that its certificate was refused.
async fn is_served(client: Client, gateway: &Gateway) -> bool {
    let Ok(mut stream) = client.connect(gateway, "a.test").await else { return false };
    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await;
    let mut answer = String::new();
    let read =
        timeout(PATIENCE, stream.read_to_string(&mut answer)).await.expect("neither served nor refused");
    read.is_ok() && answer.starts_with("HTTP/1.1 200")
}

#[tokio::test]
async fn a_handshake_that_stalls_is_cut_at_the_header_timeout() {
    let authority = Authority::new();
    let mut setup = with(Setup::echo(), vec![inline(&authority.issue(&["a.test"], |_| {}))]);
    setup.listener.header_timeout = Duration::from_millis(200);
    let gateway = setup.start();
    let mut silent = TcpStream::connect(gateway.address).await.unwrap();
    let mut half = TcpStream::connect(gateway.address).await.unwrap();
    half.write_all(&[0x16, 3, 1, 2, 0, 1]).await.unwrap();
    for stream in [&mut silent, &mut half] {
        let read = timeout(PATIENCE, stream.read_to_end(&mut Vec::new())).await;
        assert!(read.is_ok(), "still open");
    }
    gateway.wait_for_metric(r#"agw_tls_handshakes_total{listener="main",outcome="timeout"} 2"#).await;
}

#[tokio::test]
async fn a_connection_in_its_handshake_has_a_place() {
    let authority = Authority::new();
    let mut setup = with(Setup::echo(), vec![inline(&authority.issue(&["a.test"], |_| {}))]);
    setup.listener.connections_max = 1;
    let gateway = setup.start();
    let silent = TcpStream::connect(gateway.address).await.unwrap();
    gateway.wait_for_metric("agw_http_connections 1").await;
    let waiting = authority.client().connect(&gateway, "a.test");
    tokio::pin!(waiting);
    assert!(timeout(Duration::from_millis(100), waiting.as_mut()).await.is_err());
    drop(silent);
    assert!(waiting.await.is_ok());
}

#[tokio::test]
async fn plain_http_on_a_tls_port_is_closed() {
    let authority = Authority::new();
    let gateway = with(Setup::echo(), vec![inline(&authority.issue(&["a.test"], |_| {}))]).start();
    let mut client = gateway.client().await;
    client.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n").await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, client.0.read_to_end(&mut answer)).await.expect("still open");
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn a_certificate_that_cannot_be_served_stops_the_start() {
    let authority = Authority::new();
    let (a, b) = (authority.issue(&["a.test"], |_| {}), authority.issue(&["b.test"], |_| {}));
    let crossed = Issued { chain: a.chain, key: b.key };
    let setup = with(Setup::echo(), vec![inline(&crossed)]);
    let metrics = Arc::new(agw_telemetry::Metrics::new());
    let options =
        ProxyOptions { workers: 1, access_log: false, drain_timeout: Duration::from_secs(1), metrics };
    let error = Proxy::bind(&setup.snapshot(), options).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(error.to_string().contains("listener `main`"), "{error}");
    assert!(cause.contains("private key"), "{cause}");
}

// === reload ===

/// A folder of its own with a chain and a key.
struct Files(tempfile::TempDir);

impl Files {
    fn new(issued: &Issued) -> Self {
        let files = Files(tempfile::tempdir().unwrap());
        files.write(issued);
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// As careful tools do it: a new file is moved over the old one.
    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.path("new"), text).unwrap();
        std::fs::rename(self.path("new"), self.path(name)).unwrap();
    }

    fn write(&self, issued: &Issued) {
        self.put("key", &issued.key);
        self.put("chain", &issued.chain);
    }

    fn certificate(&self) -> ServerCertificate {
        let pem = |name: &str| {
            let file = self.path(name);
            Pem { text: Secret::new(std::fs::read(&file).unwrap()), file: Some(file) }
        };
        ServerCertificate { chain: pem("chain"), key: pem("key") }
    }
}

fn expiring(year: i32) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.not_after = rcgen::date_time_ymd(year, 1, 1)
}

#[tokio::test]
async fn a_new_certificate_serves_without_a_failed_request() {
    let authority = Authority::new();
    let files = Files::new(&authority.issue(&["old.test", "both.test"], expiring(2040)));
    let gateway = with(Setup::echo(), vec![files.certificate()]).start();
    let chain = files.path("chain");
    let expiry = |seconds: u64| {
        let chain = chain.display();
        format!(
            r#"agw_certificate_expiry_timestamp_seconds{{listener="main",certificate="{chain}"}} {seconds}"#
        )
    };
    gateway.wait_for_metric(&expiry(2_208_988_800)).await;
    let mut kept = authority.client().connect(&gateway, "old.test").await.unwrap();

    // A key that is not the certificate's yet, and one that is nonsense, change nothing.
    let new = authority.issue(&["new.test", "both.test"], expiring(2041));
    files.put("key", &new.key);
    gateway.wait_for_metric(r#"agw_certificate_reloads_total{listener="main",outcome="failed"} 1"#).await;
    assert!(get(authority.client().connect(&gateway, "both.test").await.unwrap()).await.contains("200 OK"));
    files.put("chain", &new.chain);
    gateway.wait_for_metric(r#"agw_certificate_reloads_total{listener="main",outcome="ok"} 1"#).await;
    gateway.wait_for_metric(&expiry(2_240_611_200)).await;
    assert!(get(authority.client().connect(&gateway, "new.test").await.unwrap()).await.contains("200 OK"));
    assert!(authority.client().connect(&gateway, "old.test").await.is_err());
    files.put("chain", "nonsense");
    gateway.wait_for_metric(r#"agw_certificate_reloads_total{listener="main",outcome="failed"} 2"#).await;
    std::fs::remove_file(files.path("chain")).unwrap();
    gateway.wait_for_metric(r#"agw_certificate_reloads_total{listener="main",outcome="failed"} 3"#).await;
    assert!(get(authority.client().connect(&gateway, "new.test").await.unwrap()).await.contains("200 OK"));

    // Connections of before go on.
    kept.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.unwrap();
    let mut begin = [0; 12];
    timeout(PATIENCE, kept.read_exact(&mut begin)).await.unwrap().unwrap();
    assert_eq!(&begin, b"HTTP/1.1 200");
}

#[tokio::test]
async fn a_drain_ends_tls_with_a_farewell() {
    let authority = Authority::new();
    let (address, listener) = manual_upstream().await;
    let issued = authority.issue(&["a.test"], |_| {});
    let mut gateway = with(Setup::to(address), vec![inline(&issued)]).start();
    let stream = authority.client().connect(&gateway, "a.test").await.unwrap();
    let asking = tokio::spawn(get(stream));
    let (mut upstream, _) = accept(&listener).await;
    let drained = gateway.drain_in_background();
    upstream.write_all(ok("late").as_bytes()).await.unwrap();
    // Without close_notify the read would have failed.
    assert!(asking.await.unwrap().ends_with("late"));
    timeout(PATIENCE, drained).await.expect("still draining").unwrap();
}
