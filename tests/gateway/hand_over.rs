use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use agw_tests::{Client, Gateway, Load, Script, Upstream};
use anyhow::{Context, Result, ensure};

/// A gateway on `listeners`, by name, that answers each request with the text of its upstream.
fn start(
    listeners: &[(&str, SocketAddr)],
    upstream: &Upstream,
    admin: SocketAddr,
    workers: &str,
    path: &Path,
) -> Result<Gateway> {
    let admin = admin.to_string();
    let path = path.to_str().context("UTF-8")?;
    let options = ["--admin", &admin, "--workers", workers, "--hand-over", path, "--access-log", "off"];
    Gateway::start_with(&document(listeners, upstream.address()), &[], &options)
}

fn document(listeners: &[(&str, SocketAddr)], upstream: SocketAddr) -> String {
    let listeners: Vec<String> = listeners
        .iter()
        .map(|(name, address)| format!("{{ name: {name}, address: \"{address}\" }}"))
        .collect();
    format!(
        "version: 1\nlisteners: [{}]\nroutes: [{{ name: all, match: {{ prefix: / }}, cluster: up }}]\n\
         clusters: [{{ name: up, endpoints: [\"{upstream}\"] }}]\n",
        listeners.join(", ")
    )
}

fn any() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

async fn text(address: SocketAddr) -> Result<String> {
    Ok(Client::new(address).get("/").await?.text())
}

#[tokio::test]
async fn a_successor_that_fails_leaves_the_old_one_serving() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let upstream = Upstream::start(|_| Script::ok("old"))?;
    let old = start(&[("http", any())], &upstream, any(), "2", &path)?;
    let address = old.address()?;
    let broken = document(&[("http", address)], upstream.address())
        .replace("cluster: up }", "cluster: up, plugins: [p] }")
        + "plugins: [{ name: p, module: { file: bad.wasm } }]\n";
    let admin = old.admin().to_string();
    let options = ["--admin", &admin, "--hand-over", path.to_str().context("UTF-8")?];
    let error = Gateway::start_with(&broken, &[("bad.wasm", b"no wasm")], &options).expect_err("it fails");
    ensure!(format!("{error:#}").contains("not a wasm module"), "{error:#}");
    old.wait_for_output("that it goes on", |log| log.contains("this process goes on")).await?;
    assert_eq!(text(address).await?, "old");
    assert_eq!(old.ask_admin("/readyz")?.status, 200);
    Ok(())
}

#[tokio::test]
async fn no_request_fails_while_one_process_after_the_other_takes_over() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let upstreams = ["first", "second", "third"].map(|name| Upstream::start(move |_| Script::ok(name)));
    let [first, second, third] = upstreams;
    let (first, second, third) = (first?, second?, third?);
    let mut old = start(&[("http", any())], &first, any(), "2", &path)?;
    let (address, admin) = (old.address()?, old.admin());
    let load = Load::new(address, "/", 64).start()?;
    // Fewer workers than sockets, then more.
    for (upstream, workers, expected) in [(&second, "1", "second"), (&third, "3", "third")] {
        let new = start(&[("renamed", address)], upstream, admin, workers, &path)?;
        let status = old.process().wait(Duration::from_secs(60))?;
        ensure!(status.success(), "{status}");
        assert_eq!((new.address()?, new.admin(), text(address).await?.as_str()), (address, admin, expected));
        old = new;
    }
    let report = load.stop()?;
    assert_eq!(report.count(200), report.samples.len(), "{report}");
    assert!(report.samples.len() > 1000, "{report}");
    assert_eq!(old.ask_admin("/readyz")?.status, 200);
    Ok(())
}

#[tokio::test]
async fn listeners_may_come_and_go_with_the_new_process() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let upstream = Upstream::start(|_| Script::ok("served"))?;
    let mut old = start(&[("gone", any()), ("kept", any())], &upstream, any(), "2", &path)?;
    let (gone, kept) = (old.listener("gone")?, old.listener("kept")?);
    let new = start(&[("kept", kept), ("fresh", any())], &upstream, any(), "2", &path)?;
    ensure!(old.process().wait(Duration::from_secs(60))?.success(), "{}", old.output());
    assert_eq!(text(kept).await?, "served");
    assert_eq!(text(new.listener("fresh")?).await?, "served");
    ensure!(text(gone).await.is_err(), "nobody listens there any more");
    TcpListener::bind(gone).context("the port is free")?;
    Ok(())
}

#[tokio::test]
async fn a_process_that_was_killed_leaves_nothing_that_keeps_the_next_from_starting() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let upstream = Upstream::start(|_| Script::ok("served"))?;
    let mut old = start(&[("http", any())], &upstream, any(), "1", &path)?;
    let address = old.address()?;
    old.process().kill();
    ensure!(path.exists());
    let mut new = start(&[("http", address)], &upstream, any(), "1", &path)?;
    assert_eq!(text(address).await?, "served");
    ensure!(new.terminate(Duration::from_secs(60))?.success());
    ensure!(!path.exists(), "an orderly end removes the socket");
    Ok(())
}

#[tokio::test]
async fn a_listener_that_was_opened_later_is_handed_over_as_well() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("agw.sock");
    let (first, second) =
        (Upstream::start(|_| Script::ok("first"))?, Upstream::start(|_| Script::ok("second"))?);
    let ports = [agw_tests::port::free_port()?, agw_tests::port::free_port()?];
    let addresses = ports.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    let mut old = start(&[("one", addresses[0])], &first, any(), "2", &path)?;
    let both = [("one", addresses[0]), ("two", addresses[1])];
    old.replace("agw.yaml", document(&both, first.address()))?;
    old.wait_for_revision(2).await?;
    assert_eq!(text(addresses[1]).await?, "first");
    let _new = start(&both, &second, old.admin(), "2", &path)?;
    let status = old.process().wait(Duration::from_secs(60))?;
    ensure!(status.success(), "{status}");
    for address in addresses {
        assert_eq!(text(address).await?, "second");
    }
    Ok(())
}
