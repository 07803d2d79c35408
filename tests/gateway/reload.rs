//! Another configuration for a gateway that serves.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use agw_tests::{Client, FaultProxy, Gateway, Mode, RedisServer, Script, Upstream, guest};
use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::raw::{read_all, read_until, send};

const ROUTE: &str = "routes: [{ name: all, match: { prefix: / }, respond: { status: 200, body: ";

/// A gateway whose every answer is `body`.
fn answering(body: &str) -> String {
    crate::document("", &format!("{ROUTE}{body} }} }}]"))
}

fn entries(page: &Value) -> &[Value] {
    page["revisions"].as_array().map(Vec::as_slice).unwrap_or_default()
}

#[tokio::test]
async fn a_changed_document_serves_and_connections_go_on() -> Result<()> {
    let gateway = Gateway::start(&answering("one"))?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.text(), "one");
    gateway.replace("agw.yaml", answering("two"))?;
    let page = gateway.wait_for_revision(2).await?;
    assert_eq!(entries(&page)[0]["changes"], serde_json::json!(["route all: changed"]), "{page:#}");
    let reply = client.get("/").await?;
    assert_eq!((reply.text().as_str(), reply.header("connection")), ("two", ""), "on the same connection");
    let config = gateway.ask_admin("/v1/config")?.json()?;
    assert_eq!(
        (&config["revision"], &config["snapshot"]["routes"][0]["respond"]["body"]),
        (&2.into(), &"two".into())
    );
    let log = gateway.wait_for_output("both lines", |log| log.matches("\"revision\":").count() == 2).await?;
    assert!(log.contains("\"revision\":1}") && log.contains("\"revision\":2}"), "{log}");
    let metrics = gateway.metrics()?;
    assert_eq!(metrics.value("agw_config_revision", &[]), Some(2.0));
    assert_eq!(metrics.value("agw_config_reloads_total", &[("outcome", "applied")]), Some(1.0));
    Ok(())
}

#[tokio::test]
async fn a_bad_document_changes_nothing_and_says_why() -> Result<()> {
    let gateway = Gateway::start(&answering("good"))?;
    let mut client = Client::new(gateway.address()?);
    let bad = [
        ("version: 1\nlisteners: [", "line"),
        ("version: 1\nlisteners: []\nroutes: []\n", "listeners"),
        (&answering("x").replace("name: all", "name: all, typo: 1"), "typo"),
    ];
    for (document, told) in bad {
        gateway.replace("agw.yaml", document)?;
        let says = |page: &Value| {
            let first = &entries(page)[0];
            first["state"] == "refused" && first["reasons"].to_string().contains(told)
        };
        let page = gateway.wait_for_revisions(told, says).await?;
        assert_eq!(page["live"], 1, "{page:#}");
        assert_eq!(client.get("/").await?.text(), "good");
        assert_eq!(gateway.ask_admin("/readyz")?.status, 200);
    }
    gateway.wait_for_output("the reason", |log| log.contains("typo")).await?;
    let refused = gateway.metrics()?.value("agw_config_reloads_total", &[("outcome", "refused")]);
    ensure!(refused.is_some_and(|count| count >= 3.0), "{refused:?}");
    gateway.replace("agw.yaml", answering("better"))?;
    gateway.wait_for_revision(2).await?;
    assert_eq!(client.get("/").await?.text(), "better");
    Ok(())
}

#[tokio::test]
async fn sighup_reads_the_document_and_what_is_the_same_is_no_revision() -> Result<()> {
    let mut gateway = Gateway::start(&answering("same"))?;
    gateway.process().signal(Signal::HUP)?;
    gateway.wait_for_output("a word", |log| log.contains("the configuration is as it was")).await?;
    // Other words, the same meaning.
    gateway.replace("agw.yaml", format!("# a comment\n{}", answering("same")))?;
    gateway
        .wait_for_metrics("it was read", |metrics| {
            metrics.value("agw_config_reloads_total", &[("outcome", "unchanged")]) == Some(2.0)
        })
        .await?;
    let page = gateway.ask_admin("/v1/revisions")?.json()?;
    assert_eq!((&page["live"], entries(&page).len()), (&1.into(), 1), "{page:#}");
    Ok(())
}

#[tokio::test]
async fn a_request_keeps_the_revision_that_it_began_with() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("hello").after(Duration::from_secs(3)))?;
    let document = |revision: &str| -> Result<String> {
        let module = guest("header-filter")?;
        Ok(crate::document(
            "",
            &format!(
                "routes: [{{ name: all, match: {{ prefix: / }}, cluster: up, plugins: [first, second] }}]
clusters: [{{ name: up, endpoints: [\"{}\"] }}]
plugins:
- {{ name: first, module: {{ file: \"{module}\" }}, configuration: \"request-set x-asked {revision}\\nresponse-set x-first {revision}\" }}
- {{ name: second, module: {{ file: \"{module}\" }}, configuration: \"response-set x-second {revision}\" }}
",
                upstream.address(),
                module = module.display(),
            ),
        ))
    };
    let gateway = Gateway::start(&document("one")?)?;
    let address = gateway.address()?;
    let early = tokio::spawn(async move { Client::new(address).get("/").await });
    while upstream.last().is_err() {
        sleep(Duration::from_millis(10)).await;
    }
    gateway.replace("agw.yaml", document("two")?)?;
    gateway.wait_for_revision(2).await?;
    let late = Client::new(address).get("/").await?;
    let early = early.await??;
    for (reply, revision) in [(early, "one"), (late, "two")] {
        assert_eq!((reply.header("x-first"), reply.header("x-second")), (revision, revision));
    }
    assert_eq!(upstream.last()?.headers["x-asked"], "two");
    // The VMs of the first revision end once nobody needs them.
    gateway
        .wait_for_metrics("one VM a plugin and worker", |metrics| {
            metrics.value("agw_plugin_vms", &[("plugin", "first")]).is_some_and(|vms| vms <= 2.0)
        })
        .await?;
    Ok(())
}

#[tokio::test]
async fn listeners_come_and_go() -> Result<()> {
    let listeners = |listeners: &str| format!("version: 1\nlisteners: [{listeners}]\n{ROUTE}hello }} }}]");
    let kept = "{ name: kept, address: \"127.0.0.1:0\" }";
    let port = agw_tests::port::free_port()?;
    let extra = format!("{{ name: extra, address: \"127.0.0.1:{port}\" }}");
    let gateway = Gateway::start(&listeners(kept))?;
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], port));
    for round in 0..2 {
        gateway.replace("agw.yaml", listeners(&format!("{kept}, {extra}")))?;
        gateway.wait_for_revision(2 + 2 * round).await?;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut open = send(address, request).await?;
        read_until(&mut open, "hello").await?;
        gateway.replace("agw.yaml", listeners(kept))?;
        gateway.wait_for_revision(3 + 2 * round).await?;
        ensure!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
        // A request that was on its way is answered, and told that it is the last.
        open.write_all(request).await?;
        let last = read_all(&mut open).await?;
        ensure!(last.contains("hello") && last.to_lowercase().contains("connection: close"), "{last}");
    }
    assert_eq!(Client::new(gateway.listener("kept")?).get("/").await?.text(), "hello");
    Ok(())
}

#[tokio::test]
async fn a_listener_whose_limits_change_keeps_its_port() -> Result<()> {
    let with = |limits: &str| crate::document(limits, &format!("{ROUTE}hello }} }}]"));
    let gateway = Gateway::start(&with("headers: 100"))?;
    let headers: Vec<_> = (0..30).map(|_| ("x-many", "1")).collect();
    assert_eq!(Client::new(gateway.address()?).get_with("/", &headers).await?.status, 200);
    gateway.replace("agw.yaml", with("headers: 20"))?;
    gateway.wait_for_revision(2).await?;
    assert_eq!(Client::new(gateway.address()?).get_with("/", &headers).await?.status, 431);
    Ok(())
}

#[tokio::test]
async fn a_port_that_is_taken_changes_nothing() -> Result<()> {
    let holder = std::net::TcpListener::bind("127.0.0.1:0")?;
    let gateway = Gateway::start(&answering("one"))?;
    let taken = format!("{{ name: taken, address: \"{}\" }}, ", holder.local_addr()?);
    gateway.replace("agw.yaml", answering("two").replace("listeners: [", &format!("listeners: [{taken}")))?;
    let refused = |page: &Value| entries(page)[0]["reasons"].to_string().contains("taken by another process");
    gateway.wait_for_revisions("it is refused", refused).await?;
    assert_eq!(Client::new(gateway.address()?).get("/").await?.text(), "one");
    drop(holder);
    // It is tried again, though no file has changed.
    gateway.wait_for_revision(2).await?;
    assert_eq!(Client::new(gateway.address()?).get("/").await?.text(), "two");
    Ok(())
}

#[tokio::test]
async fn a_module_whose_file_changes_is_replaced_and_a_broken_one_is_not_taken() -> Result<()> {
    let document = crate::document(
        "",
        &format!(
            "{ROUTE}hello }}, plugins: [p] }}]
plugins: [{{ name: p, module: {{ file: p.wasm }}, configuration: \"response-set x-by header-filter\" }}]"
        ),
    );
    let module = fs::read(guest("header-filter")?)?;
    let gateway = Gateway::start_with(&document, &[("p.wasm", &module)], &["--admin", "127.0.0.1:0"])?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.header("x-by"), "header-filter");
    gateway.replace("p.wasm", &module[..module.len() / 2])?;
    let refused = |page: &Value| entries(page)[0]["reasons"].to_string().contains("load the plugin");
    gateway.wait_for_revisions("it is refused", refused).await?;
    assert_eq!(client.get("/").await?.header("x-by"), "header-filter");
    // The same module with a section of its own at the end.
    let other = [module.as_slice(), &[0, 5, 4, b'm', b'i', b'n', b'e']].concat();
    gateway.replace("p.wasm", &other)?;
    let page = gateway.wait_for_revision(2).await?;
    assert_eq!(entries(&page)[0]["changes"], serde_json::json!(["module of plugin p"]), "{page:#}");
    assert_eq!(client.get("/").await?.header("x-by"), "header-filter");
    Ok(())
}

/// A limit of a million. `login` is what the resource says of the credentials.
fn limited(url: &str, login: &str) -> String {
    crate::document(
        "",
        &format!(
            "{ROUTE}hello }}, plugins: [limit] }}]
plugins: [{{ name: limit, module: {{ builtin: rate-limit }}, configuration: {{ limit: 1000000, window: 3600, on_error: closed }} }}]
resources:
- name: limits
  type: redis
  url: {url}
  {login}
  limits: {{ call_timeout: 5s }}
  grants: [{{ plugin: limit, commands: [set, incr, pttl], key_prefix: \"l:\" }}]"
        ),
    )
}

/// Files as Kubernetes mounts them: the name stays, and what it leads to is swapped in one step.
fn mount(gateway_folder: &std::path::Path, version: u32, password: &str) -> Result<()> {
    let secrets = gateway_folder.join("secrets");
    let folder = secrets.join(format!("v{version}"));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("password"), password)?;
    symlink(format!("v{version}"), secrets.join("next"))?;
    fs::rename(secrets.join("next"), secrets.join("current"))?;
    Ok(())
}

#[tokio::test]
async fn a_password_is_rotated_without_a_restart_and_a_wrong_one_is_not_taken() -> Result<()> {
    let redis = RedisServer::start()?;
    let mut admin = redis.connection()?;
    let mut say = |words: &str| -> Result<()> {
        let words: Vec<&str> = words.split(' ').collect();
        Ok(redis::cmd(words[0]).arg(&words[1..]).exec(&mut admin)?)
    };
    say("ACL SETUSER agw on ~* +@all >planted-first")?;
    let folder = tempfile::tempdir()?;
    mount(folder.path(), 1, "planted-first")?;
    let login = "username: agw\n  password: { file: secrets/current/password }";
    let document = limited(&redis.url(), login);
    let gateway = Gateway::start_in(folder, &document, &["--admin", "127.0.0.1:0"])?;
    let mut client = Client::new(gateway.address()?);
    assert_eq!(client.get("/").await?.status, 200);

    mount(gateway.folder(), 2, "planted-wrong")?;
    let refused = |page: &Value| entries(page)[0]["reasons"].to_string().contains("refused the login");
    let page = gateway.wait_for_revisions("it is refused", refused).await?;
    ensure!(!page.to_string().contains("planted-wrong"), "{page:#}");
    assert_eq!(client.get("/").await?.status, 200, "the old connections go on");

    say("ACL SETUSER agw >planted-second")?;
    mount(gateway.folder(), 3, "planted-second")?;
    gateway.wait_for_revision(2).await?;
    say("ACL SETUSER agw <planted-first")?;
    say("CLIENT KILL TYPE normal SKIPME yes")?;
    let asked = async {
        while client.get("/").await?.status != 200 {
            sleep(Duration::from_millis(50)).await;
        }
        anyhow::Ok(())
    };
    tokio::time::timeout(Duration::from_secs(10), asked).await.context("the new password lets it in")??;
    Ok(())
}

#[tokio::test]
async fn a_call_under_way_finishes_though_its_resource_is_gone() -> Result<()> {
    let redis = RedisServer::start()?;
    let proxy = FaultProxy::start(redis.address())?;
    let document = limited(&proxy.redis_url(), "");
    // One worker, and so one connection: another would wait as long for its login.
    let gateway = Gateway::start_with(&document, &[], &["--admin", "127.0.0.1:0", "--workers", "1"])?;
    let address = gateway.address()?;
    assert_eq!(Client::new(address).get("/").await?.status, 200);
    let connected = proxy.open();
    ensure!(connected > 0, "it has a connection");
    proxy.set(Mode::HoldReplies(Duration::from_secs(3)))?;
    let early = tokio::spawn(async move { Client::new(address).get("/").await });
    sleep(Duration::from_millis(500)).await;
    gateway.replace("agw.yaml", answering("bare"))?;
    gateway.wait_for_revision(2).await?;
    assert_eq!(Client::new(address).get("/").await?.text(), "bare");
    let early = early.await??;
    assert_eq!((early.status.as_u16(), early.text().as_str()), (200, "hello"));
    // With the last request of its revision the resource goes, and its connections with it.
    let gone = async {
        while proxy.open() > 0 {
            sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), gone).await.context("its connections are closed")?;
    let page = gateway.ask_admin("/v1/resources")?.json()?;
    ensure!(page.as_array().is_some_and(Vec::is_empty), "{page}");
    Ok(())
}

#[tokio::test]
async fn a_document_that_changes_ten_times_a_second_loses_no_request_and_the_last_one_serves() -> Result<()> {
    let numbered = |number: u32| answering(&format!("\"{number}\""));
    let gateway = Gateway::start(&numbered(0))?;
    let address = gateway.address()?;
    let asking = tokio::spawn(async move {
        let mut client = Client::new(address);
        let mut last = 0;
        loop {
            let number: u32 = client.get("/").await?.text().parse()?;
            ensure!(number >= last, "{number} after {last}");
            last = number;
            if number == 60 {
                return anyhow::Ok(());
            }
        }
    });
    for number in 1..=60 {
        gateway.replace("agw.yaml", numbered(number))?;
        sleep(Duration::from_millis(100)).await;
    }
    tokio::time::timeout(Duration::from_secs(20), asking).await.context("the last one serves")???;
    Ok(())
}
