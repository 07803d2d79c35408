use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Write};
use std::net::TcpStream;

use agw_config::{Cluster, ClusterTarget, Forward, Listener, PathMatch, Route, RouteMatch};
use parking_lot::Mutex;

use super::*;

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// `/echo` answers, `/stuck` goes to a server that accepts and says nothing.
fn snapshot(stuck: SocketAddr) -> Arc<Snapshot> {
    let route = |name: &str| {
        let matching = RouteMatch::path(PathMatch::Prefix(format!("/{name}")));
        let timeout = Duration::from_secs(10);
        Arc::new(Route { timeout, ..Route::new(name, matching, Forward::to(name)) })
    };
    let cluster = |name: &str, target| (name.to_owned(), Arc::new(Cluster::new(name, target)));
    let listener = Listener::new("main", ([127, 0, 0, 1], 0).into());
    Arc::new(Snapshot {
        digest: String::new(),
        listeners: vec![Arc::new(listener)],
        routes: vec![route("echo"), route("stuck")],
        clusters: BTreeMap::from([
            cluster("echo", ClusterTarget::BuiltinEcho),
            cluster("stuck", ClusterTarget::Endpoints(vec![stuck.to_string()])),
        ]),
        plugins: BTreeMap::new(),
        resources: BTreeMap::new(),
        sql_resources: BTreeMap::new(),
        tracing: None,
    })
}

fn ask(address: SocketAddr, request: &str) -> TcpStream {
    let mut client = TcpStream::connect(address).unwrap();
    client.write_all(request.as_bytes()).unwrap();
    client
}

fn answer(mut client: TcpStream) -> String {
    let mut text = String::new();
    let _ = client.read_to_string(&mut text);
    text
}

#[tokio::test]
async fn each_request_has_one_line_however_it_ended() {
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let snapshot = snapshot(stuck.local_addr().unwrap());
    let drain_timeout = Duration::from_millis(300);
    let options =
        ProxyOptions { workers: 1, access_log: true, drain_timeout, metrics: Arc::new(Metrics::new()) };
    let bound = Proxy::bind(&snapshot, options).unwrap();
    let address = bound.addresses()[0].1;
    let runtime = Runtime::new(1, snapshot, &HashMap::new(), None).unwrap();
    let memory = Memory::default();
    let proxy = bound.spawn_logging_to(Arc::new(runtime), memory.clone()).unwrap();

    let close = "host: a\r\nx-request-id: me\r\nconnection: close\r\n\r\n";
    assert!(answer(ask(address, &format!("GET /echo?a=b HTTP/1.1\r\n{close}"))).contains("200 OK"));
    assert!(answer(ask(address, &format!("GET /none HTTP/1.1\r\n{close}"))).contains("404 Not Found"));
    assert!(answer(ask(address, "GET / HTTP/9.9\r\n\r\n")).contains("400 Bad Request"));
    let left = ask(address, &format!("GET /stuck/left HTTP/1.1\r\n{close}"));
    let (mut first, _) = stuck.accept().unwrap();
    // Only now has it been sent for certain.
    first.read_exact(&mut [0]).unwrap();
    drop(left);
    let drained = ask(address, &format!("GET /stuck/drained HTTP/1.1\r\n{close}"));
    let _second = stuck.accept().unwrap();
    proxy.drain().await;
    drop(drained);

    let text = String::from_utf8(memory.0.lock().clone()).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = lines
        .iter()
        .map(|line| {
            let field = |name: &str| line[name].as_str().unwrap().to_owned();
            (field("path"), line["status"].as_u64().unwrap(), field("details"), field("flags"))
        })
        .collect();
    let expected = [
        ("/echo?a=b", 200, "via_upstream", ""),
        ("/none", 404, "route_not_found", "NR"),
        ("-", 400, "request_head_broken", ""),
        ("/stuck/left", 0, "downstream_remote_disconnect", "DC"),
        ("/stuck/drained", 0, "drain_timeout", ""),
    ];
    let expected =
        expected.map(|(path, status, details, flags)| (path.into(), status, details.into(), flags.into()));
    assert_eq!(told, expected, "{text}");
    assert_eq!((&lines[0]["route"], &lines[0]["request_id"]), (&"echo".into(), &"me".into()));
    // The client left while the only try was under way; the echo has no endpoint to try.
    let upstream = stuck.local_addr().unwrap().to_string();
    assert_eq!((&lines[3]["attempts"], &lines[3]["upstream"]), (&1.into(), &upstream.into()));
    assert_eq!(lines[0]["attempts"], 0);
}

#[tokio::test]
async fn a_proxy_that_is_dropped_closes_its_port() {
    let snapshot = snapshot(([127, 0, 0, 1], 9).into());
    let metrics = Arc::new(Metrics::new());
    let options =
        ProxyOptions { workers: 2, access_log: false, drain_timeout: Duration::from_secs(5), metrics };
    let bound = Proxy::bind(&snapshot, options).unwrap();
    let address = bound.addresses()[0].1;
    let runtime = Runtime::new(1, snapshot, &HashMap::new(), None).unwrap();
    let proxy = bound.spawn(Arc::new(runtime)).unwrap();
    let idle = TcpStream::connect(address).unwrap();
    drop(proxy);
    assert_eq!(answer(idle), "");
    let closed = async {
        while TcpStream::connect(address).is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.expect("still listening");
}

/// Reads until `end` has come.
fn read_until(client: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut chunk = [0; 1024];
    while !text.contains(end) {
        let read = client.read(&mut chunk).unwrap();
        assert!(read > 0, "closed before {end:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&chunk[..read]));
    }
    text
}

#[tokio::test]
async fn a_drain_answers_what_waits_in_the_queue_and_what_comes_on_idle_connections() {
    let stuck = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut snapshot = Arc::unwrap_or_clone(snapshot(stuck.local_addr().unwrap()));
    let mut listener = Listener::new("main", ([127, 0, 0, 1], 0).into());
    listener.connections_max = 2;
    snapshot.listeners = vec![Arc::new(listener)];
    let snapshot = Arc::new(snapshot);
    let drain_timeout = Duration::from_secs(20);
    let options =
        ProxyOptions { workers: 1, access_log: false, drain_timeout, metrics: Arc::new(Metrics::new()) };
    let bound = Proxy::bind(&snapshot, options).unwrap();
    let address = bound.addresses()[0].1;
    let runtime = Runtime::new(1, snapshot, &HashMap::new(), None).unwrap();
    let proxy = bound.spawn(Arc::new(runtime)).unwrap();

    let mut idle = ask(address, "GET /echo HTTP/1.1\r\nhost: a\r\n\r\n");
    let first = read_until(&mut idle, "}");
    assert!(first.contains("200 OK") && !first.contains("connection: close"), "{first}");
    let busy = ask(address, "GET /stuck HTTP/1.1\r\nhost: a\r\n\r\n");
    let (mut upstream, _) = stuck.accept().unwrap();
    read_until(&mut upstream, "\r\n\r\n");
    // Both places are taken: the kernel completes this connection, and nobody accepts it.
    let queued = ask(address, "GET /echo HTTP/1.1\r\nhost: a\r\n\r\n");
    let mut stop = proxy.stop.subscribe();
    let drained = tokio::spawn(proxy.drain());
    stop.wait_for(|stop| *stop == Stop::Draining).await.unwrap();

    // The worker notices a moment later; until then answers are as ever.
    let mut last = String::new();
    while !last.contains("connection: close") {
        idle.write_all(b"GET /echo HTTP/1.1\r\nhost: a\r\n\r\n").unwrap();
        last = read_until(&mut idle, "}");
        assert!(last.starts_with("HTTP/1.1 200 OK"), "{last}");
    }
    upstream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nlate").unwrap();
    for client in [busy, queued] {
        let answer = tokio::task::spawn_blocking(|| answer(client)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.contains("connection: close"), "{answer}");
    }
    tokio::time::timeout(Duration::from_secs(10), drained)
        .await
        .expect("it ends with its last request")
        .unwrap();
}
