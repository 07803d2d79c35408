use agw_tests::{Client, Script, Upstream};
use anyhow::Result;

use crate::raw::{read_all, read_until, send};

#[tokio::test]
async fn the_most_specific_route_wins_and_none_is_a_404() -> Result<()> {
    let upstreams: Vec<Upstream> = ["host", "exact", "long", "short"]
        .into_iter()
        .map(|name| Upstream::start(move |_| Script::ok(name)))
        .collect::<Result<_>>()?;
    let cluster = |at: usize, name: &str| {
        format!("  - {{ name: {name}, endpoints: [\"{}\"] }}\n", upstreams[at].address())
    };
    let clusters: String =
        ["host", "exact", "long", "short"].iter().enumerate().map(|(at, name)| cluster(at, name)).collect();
    let gateway = crate::start(&format!(
        r#"routes:
  - {{ name: short, match: {{ prefix: /a }}, cluster: short }}
  - {{ name: long, match: {{ prefix: /a/b }}, cluster: long }}
  - {{ name: exact, match: {{ path: /a/b/c }}, cluster: exact }}
  - {{ name: host, match: {{ hosts: [API.example.com, "[::1]"], prefix: /a }}, cluster: host }}
clusters:
{clusters}"#
    ))?;
    let mut client = Client::new(gateway.address()?);
    let cases = [
        ("/a", "x", "short"),
        ("/ab?q=/a/b/c", "x", "short"),
        ("/a/b", "x", "long"),
        ("/a/b/c?q", "x", "exact"),
        ("/a/b/c/", "x", "long"),
        ("/a/b/c", "api.EXAMPLE.com:8080", "host"),
        ("/a/b/c", "[::1]:80", "host"),
        ("/a", "api.example.com.evil", "short"),
    ];
    for (path, host, expected) in cases {
        let reply = client.get_with(path, &[("host", host)]).await?;
        assert_eq!(reply.text(), expected, "{host}{path}");
    }
    for path in ["/", "/b/a", "/A"] {
        let reply = client.get(path).await?;
        assert_eq!((reply.status.as_u16(), reply.header("content-type")), (404, "application/problem+json"));
        assert_eq!(reply.json()?["code"], "route_not_found", "{path}");
    }
    let unmatched = [("route", "none"), ("code", "404")];
    assert_eq!(gateway.metrics()?.value("agw_http_requests_total", &unmatched), Some(3.0));
    Ok(())
}

#[tokio::test]
async fn what_is_not_http_is_a_400_and_the_gateway_goes_on() -> Result<()> {
    let gateway = crate::start(
        "routes: [{ name: all, match: { prefix: / }, cluster: echo }]\nclusters: [{ name: echo, builtin: echo }]",
    )?;
    let cases: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nhost: a\r\nbad name: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
        b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx",
        b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ];
    for bytes in cases {
        // Our side stays open: a client that has closed its side counts as gone, and gets no answer.
        let mut stream = send(gateway.address()?, bytes).await?;
        let answer = read_until(&mut stream, "\r\n\r\n").await?;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{}: {answer:?}", bytes.escape_ascii());
    }
    assert_eq!(Client::new(gateway.address()?).get("/").await?.status, 200);
    Ok(())
}

#[tokio::test]
async fn a_request_cannot_be_smuggled_behind_another() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("seen"))?;
    let gateway = crate::start(&format!(
        "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]\nclusters: [{{ name: up, endpoints: [\"{}\"] }}]",
        upstream.address()
    ))?;
    let both = b"POST /first HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n\
                 0\r\n\r\nGET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
    let mut stream = send(gateway.address()?, both).await?;
    let answers = read_all(&mut stream).await?;
    // The chunks count, the length is dropped, and the connection ends: what follows is nobody's request.
    assert_eq!(answers.matches("HTTP/1.1 ").count(), 1, "{answers}");
    let seen = upstream.recorded();
    assert_eq!(seen.iter().map(|request| request.path.as_str()).collect::<Vec<_>>(), ["/first"]);
    assert!(seen[0].body.is_empty() && !seen[0].headers.contains_key("content-length"), "{seen:?}");
    Ok(())
}
