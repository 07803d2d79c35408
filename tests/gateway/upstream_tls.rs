//! TLS towards upstreams, as a document asks for it.

use agw_tests::{Authority, Client, Gateway, Issued, Script, Upstream};
use anyhow::Result;
use http::Version;
use serde_json::Value;

/// Files beside the document.
type Files<'a> = &'a [(&'a str, &'a str)];

/// One cluster, `up`, whose endpoint is that server under the name `localhost`; `fields` are further ones of it.
fn document(upstream: &Upstream, fields: &str) -> String {
    let port = upstream.address().port();
    crate::document(
        "",
        &format!(
            "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, timeout: 5s }}]\n\
             clusters: [{{ name: up, endpoints: [\"localhost:{port}\"], {fields} }}]"
        ),
    )
}

fn start(upstream: &Upstream, fields: &str, files: Files<'_>) -> Result<Gateway> {
    let files: Vec<_> = files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    Gateway::start_with(&document(upstream, fields), &files, &["--admin", "127.0.0.1:0", "--workers", "1"])
}

fn server(issued: &Issued, alpn: &[&str]) -> Result<Upstream> {
    Upstream::start_tls(issued.server(alpn, None)?, |_| Script::ok("secured"))
}

/// Nothing reaches the upstream, the client learns no more than that, and the log has the reason once.
async fn assert_refused(gateway: &Gateway, upstream: &Upstream, reason: &str) -> Result<()> {
    let mut client = Client::new(gateway.address()?);
    for _ in 0..3 {
        let reply = client.get("/").await?;
        assert_eq!(reply.status, 503, "{reply:?}");
        assert_eq!(reply.json()?["code"], "upstream_connect_failed");
        assert!(
            !reply.text().contains("certificate") && !reply.text().contains("localhost"),
            "{}",
            reply.text()
        );
    }
    assert!(upstream.recorded().is_empty(), "{:?}", upstream.recorded());
    let log =
        gateway.wait_for_output("three lines", |log| log.matches("\"flags\":\"UF\"").count() == 3).await?;
    let reasons: Vec<_> = log.lines().filter(|line| line.contains("endpoint cannot be reached")).collect();
    assert_eq!(reasons.len(), 1, "{log}");
    assert!(reasons[0].contains(reason) && reasons[0].contains("up"), "{}", reasons[0]);
    Ok(())
}

#[tokio::test]
async fn a_certificate_of_the_authority_and_the_name_is_trusted_and_alpn_chooses_the_version() -> Result<()> {
    let authority = Authority::new()?;
    let issued = authority.issue("localhost")?;
    for (protocol, alpn, version) in [
        ("auto", &["h2", "http/1.1"][..], Version::HTTP_2),
        ("auto", &["http/1.1"], Version::HTTP_11),
        ("auto", &[], Version::HTTP_11),
        ("http1", &["h2", "http/1.1"], Version::HTTP_11),
        ("http2", &["h2", "http/1.1"], Version::HTTP_2),
    ] {
        let upstream = server(&issued, alpn)?;
        let fields = format!("protocol: {protocol}, tls: {{ ca: {{ file: ca.pem }} }}");
        let gateway = start(&upstream, &fields, &[("ca.pem", &authority.pem())])?;
        let mut client = Client::new(gateway.address()?);
        for _ in 0..2 {
            assert_eq!(client.get("/").await?.text(), "secured", "{protocol} {alpn:?}");
        }
        assert_eq!(upstream.last()?.version, version, "{protocol} {alpn:?}");
        let open = gateway.metrics()?.value("agw_upstream_connections", &[("cluster", "up")]);
        assert_eq!(open, Some(1.0), "{protocol} {alpn:?}: both on one connection");
    }
    Ok(())
}

#[tokio::test]
async fn certificates_that_prove_nothing_are_refused_and_the_log_says_why() -> Result<()> {
    let (authority, stranger) = (Authority::new()?, Authority::new()?);
    for (issued, reason) in [
        (authority.issue("other.test")?, "not valid for name"),
        (authority.issue_expired("localhost")?, "expired"),
        (stranger.issue("localhost")?, "UnknownIssuer"),
    ] {
        let upstream = server(&issued, &[])?;
        let gateway = start(&upstream, "tls: { ca: { file: ca.pem } }", &[("ca.pem", &authority.pem())])?;
        assert_refused(&gateway, &upstream, reason).await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_server_without_tls_is_refused() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("in plaintext"))?;
    let authority = Authority::new()?;
    let gateway = start(&upstream, "tls: { ca: { file: ca.pem } }", &[("ca.pem", &authority.pem())])?;
    assert_refused(&gateway, &upstream, "the TLS handshake failed").await
}

#[tokio::test]
async fn another_name_is_verified_if_the_document_says_so() -> Result<()> {
    let authority = Authority::new()?;
    let upstream = server(&authority.issue("api.internal")?, &[])?;
    let fields = "tls: { ca: { file: ca.pem }, server_name: api.internal }";
    let gateway = start(&upstream, fields, &[("ca.pem", &authority.pem())])?;
    assert_eq!(Client::new(gateway.address()?).get("/").await?.text(), "secured");
    Ok(())
}

#[tokio::test]
async fn a_client_certificate_is_shown_to_a_server_that_wants_one() -> Result<()> {
    let (authority, clients) = (Authority::new()?, Authority::new()?);
    let config = authority.issue("localhost")?.server(&["h2"], Some(&clients))?;
    let upstream = Upstream::start_tls(config, |_| Script::ok("secured"))?;
    let own = clients.issue("gateway")?;
    let files: Files<'_> =
        &[("ca.pem", &authority.pem()), ("own.pem", &own.certificate), ("own.key", &own.key)];
    let fields = "protocol: auto, tls: { ca: { file: ca.pem }, client_certificate: { file: own.pem }, client_key: { file: own.key } }";
    let gateway = start(&upstream, fields, files)?;
    assert_eq!(Client::new(gateway.address()?).get("/").await?.text(), "secured");

    // Without one, and with one of somebody else's: TLS 1.3 tells a client so only after its handshake.
    let stranger = Authority::new()?.issue("gateway")?;
    let strangers: Files<'_> =
        &[("ca.pem", &authority.pem()), ("own.pem", &stranger.certificate), ("own.key", &stranger.key)];
    for (fields, files) in [("tls: { ca: { file: ca.pem } }", files), (fields, strangers)] {
        let gateway = start(&upstream, fields, files)?;
        let status = Client::new(gateway.address()?).get("/").await?.status;
        assert!(status == 502 || status == 503, "{status}");
    }
    assert_eq!(upstream.recorded().len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_authority_that_changes_in_its_file_is_taken_while_requests_go_on() -> Result<()> {
    let (old, new) = (Authority::new()?, Authority::new()?);
    let (before, after) = (server(&old.issue("localhost")?, &[])?, server(&new.issue("localhost")?, &[])?);
    let fields = "tls: { ca: { file: ca.pem } }";
    let gateway = start(&before, fields, &[("ca.pem", &old.pem())])?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.text(), "secured");

    // The server moves to another authority: what the file says decides, not what was trusted at the start.
    gateway.replace("agw.yaml", document(&after, fields))?;
    gateway.wait_for_revision(2).await?;
    assert_eq!(client.get("/").await?.status, 503);
    gateway.replace("ca.pem", format!("{}{}", old.pem(), new.pem()))?;
    gateway.wait_for_revision(3).await?;
    assert_eq!(client.get("/").await?.text(), "secured");

    // The old one is no longer trusted once it has left the file, and connections made with its trust end.
    gateway.replace("agw.yaml", document(&before, fields))?;
    gateway.wait_for_revision(4).await?;
    assert_eq!(client.get("/").await?.text(), "secured");
    gateway.replace("ca.pem", new.pem())?;
    gateway.wait_for_revision(5).await?;
    assert_eq!(client.get("/").await?.status, 503);
    Ok(())
}

#[tokio::test]
async fn an_authority_file_that_is_spoiled_changes_nothing() -> Result<()> {
    let authority = Authority::new()?;
    let upstream = server(&authority.issue("localhost")?, &[])?;
    for spoiled in ["", "nonsense", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let gateway = start(&upstream, "tls: { ca: { file: ca.pem } }", &[("ca.pem", &authority.pem())])?;
        let mut client = Client::new(gateway.address()?);
        gateway.replace("ca.pem", spoiled)?;
        let says = |page: &Value| {
            let first = &page["revisions"][0];
            first["state"] == "refused" && first["reasons"].to_string().contains("clusters[0].tls.ca")
        };
        let page = gateway.wait_for_revisions("the file is refused, with its place", says).await?;
        assert_eq!(page["live"], 1, "{page:#}");
        assert_eq!(client.get("/").await?.text(), "secured");
    }
    Ok(())
}
