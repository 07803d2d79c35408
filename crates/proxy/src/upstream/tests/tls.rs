use std::sync::Arc;

use agw_config::{ClientCertificate, Secret, Tls, UpstreamProtocol};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};
use rustls::ServerConfig;
use rustls::server::WebPkiClientVerifier;
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::*;

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // No two are called alike, so that a verifier can tell them apart before it looks at signatures.
    params.distinguished_name.push(DnType::CommonName, format!("authority {}", fastrand::u64(..)));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// What a server does in its handshake.
struct Server<'a> {
    name: &'a str,
    expired: bool,
    alpn: &'a [&'a str],
    /// Whose clients it takes.
    clients: Option<&'a Authority>,
}

const LOCALHOST: Server<'static> = Server { name: "localhost", expired: false, alpn: &[], clients: None };

fn certificate(authority: &Authority, name: &str, expired: bool) -> (rcgen::Certificate, KeyPair) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    if expired {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    }
    (params.signed_by(&key, authority).unwrap(), key)
}

impl Server<'_> {
    fn acceptor(&self, authority: &Authority) -> TlsAcceptor {
        let (certificate, key) = certificate(authority, self.name, self.expired);
        let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = match self.clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(clients.as_ref().der().clone()).unwrap();
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
                builder.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        config.alpn_protocols = self.alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Answers every request with `ok`, and counts those that it saw.
    async fn start(&self, authority: &Authority) -> (String, Rc<std::cell::Cell<usize>>) {
        let (listener, address) = listen().await;
        let acceptor = self.acceptor(authority);
        let seen = Rc::new(std::cell::Cell::new(0));
        let count = Rc::clone(&seen);
        tokio::task::spawn_local(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let Ok(mut stream) = acceptor.accept(stream).await else { continue };
                let count = Rc::clone(&count);
                let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                tokio::task::spawn_local(async move {
                    if http2 {
                        return super::http2::serve(stream, count).await;
                    }
                    while read_head(&mut stream).await.is_some() {
                        count.set(count.get() + 1);
                        stream.write_all(OK).await.unwrap();
                    }
                });
            }
        });
        let port = address.rsplit_once(':').unwrap().1;
        (format!("localhost:{port}"), seen)
    }
}

fn trusting(authority: &Authority) -> Tls {
    Tls { ca_pem: authority.as_ref().pem().into_bytes(), server_name: None, client: None }
}

fn secure(address: &str, tls: Tls) -> Cluster {
    Cluster { tls: Some(tls), connect_timeout: Duration::from_secs(5), ..cluster(&[address]) }
}

#[track_caller]
fn assert_handshake_failed(result: Result<(u16, String, u32), SendError>, word: &str) {
    let error = result.unwrap_err();
    let SendError::Connect { last: ConnectError::Tls(cause), .. } = &error else { panic!("{error:?}") };
    assert!(cause.to_string().contains(word), "{cause}");
}

#[tokio::test]
async fn a_certificate_of_the_clusters_authority_is_trusted() {
    local(async {
        let authority = authority();
        let (address, seen) = LOCALHOST.start(&authority).await;
        let upstream = start(secure(&address, trusting(&authority)));
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
        assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
        assert_eq!((seen.get(), upstream.idle()), (2, 1), "both on one connection");
    })
    .await;
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_nothing_is_sent() {
    local(async {
        let authority = authority();
        let (address, seen) = Server { expired: true, ..LOCALHOST }.start(&authority).await;
        let result = ask(&start(secure(&address, trusting(&authority))), None).await;
        assert_handshake_failed(result, "expired");
        assert_eq!(seen.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused_unless_that_name_is_wanted() {
    local(async {
        let authority = authority();
        let (address, seen) = Server { name: "other.example", ..LOCALHOST }.start(&authority).await;
        let result = ask(&start(secure(&address, trusting(&authority))), None).await;
        assert_handshake_failed(result, "not valid for name");
        assert_eq!(seen.get(), 0);
        let tls = Tls { server_name: Some("other.example".to_owned()), ..trusting(&authority) };
        assert_eq!(ask(&start(secure(&address, tls)), None).await.unwrap().1, "ok");
    })
    .await;
}

#[tokio::test]
async fn a_certificate_of_another_authority_is_refused() {
    local(async {
        let (address, seen) = LOCALHOST.start(&authority()).await;
        let result = ask(&start(secure(&address, trusting(&authority()))), None).await;
        assert_handshake_failed(result, "UnknownIssuer");
        assert_eq!(seen.get(), 0);
    })
    .await;
}

#[tokio::test]
async fn the_clusters_own_certificate_is_shown() {
    local(async {
        let authority = authority();
        let (address, _) = Server { clients: Some(&authority), ..LOCALHOST }.start(&authority).await;
        let (chain, key) = certificate(&authority, "gateway", false);
        let client = ClientCertificate {
            chain_pem: chain.pem().into_bytes(),
            key_pem: Secret::new(key.serialize_pem().into_bytes()),
        };
        let tls = Tls { client: Some(client), ..trusting(&authority) };
        assert_eq!(ask(&start(secure(&address, tls)), None).await.unwrap().1, "ok");
        let error = ask(&start(secure(&address, trusting(&authority))), None).await.unwrap_err();
        assert!(!matches!(error, SendError::Overflow { .. }), "{error:?}");
    })
    .await;
}

#[tokio::test]
async fn alpn_chooses_the_version() {
    local(async {
        let authority = authority();
        for (alpn, http2) in [(&["h2", "http/1.1"][..], 1), (&["http/1.1"], 0), (&[], 0)] {
            let (address, _) = Server { alpn, ..LOCALHOST }.start(&authority).await;
            let secure = secure(&address, trusting(&authority));
            let upstream = start(Cluster { protocol: UpstreamProtocol::Auto, ..secure });
            assert_eq!(ask(&upstream, None).await.unwrap().1, "ok");
            let mut connections = 0;
            upstream.endpoints.each(|endpoint| connections += endpoint.http2.len());
            assert_eq!(connections, http2, "{alpn:?}");
        }
    })
    .await;
}

#[test]
fn an_authority_that_is_none_is_an_error_at_the_start() {
    let tls = Tls { ca_pem: b"nothing".to_vec(), server_name: None, client: None };
    let error = ClusterState::new(&Arc::new(secure("localhost:1", tls))).unwrap_err();
    assert!(matches!(error, TlsError::NoAuthority), "{error:?}");
}
