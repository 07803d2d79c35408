//! Servers that are none, and bytes that change on their way: an error each time, and never more than that.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use agw_wire::Code;
use agw_wire::sql::Cell;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::Server;
use crate::world::{AD_HOC, World};

/// A packet with its header.
fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(body.len()).unwrap().to_le_bytes()[..3].to_vec();
    bytes.push(sequence);
    bytes.extend_from_slice(body);
    bytes
}

/// The first packet of a MySQL 8, which asks for `caching_sha2_password`.
fn greeting() -> Vec<u8> {
    let mut body = b"\x0a8.0.36\0\x07\0\0\0abcdefgh\0\xff\xff\xff\x02\0\xff\xdf\x15".to_vec();
    body.extend_from_slice(&[0; 10]);
    body.extend_from_slice(b"ijklmnopqrst\0caching_sha2_password\0");
    packet(0, &body)
}

/// Says one thing at once, and another after each that the client says.
async fn serve(listener: TcpListener, says: Vec<Vec<u8>>) {
    while let Ok((mut client, _)) = listener.accept().await {
        let says = says.clone();
        tokio::spawn(async move {
            let mut heard = [0; 4096];
            for bytes in says {
                if client.write_all(&bytes).await.is_err() || client.read(&mut heard).await.unwrap_or(0) == 0
                {
                    return;
                }
            }
        });
    }
}

#[tokio::test]
async fn whatever_a_server_says_that_is_none_there_is_an_error_and_the_gateway_lives() {
    let server = Arc::new(Mutex::new(Server::start().unwrap()));
    let ok = packet(2, &[0, 0, 0, 2, 0, 0, 0]);
    for (what, says) in [
        ("nothing", vec![]),
        ("HTTP", vec![b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec()]),
        ("an empty packet", vec![packet(0, &[])]),
        ("a frame of 16 MiB", vec![vec![0xff, 0xff, 0xff, 0]]),
        ("an old protocol", vec![packet(0, b"\x09old\0")]),
        ("half a greeting", vec![packet(0, b"\x0a8.0.36\0\x07")]),
        ("an empty packet after the login", vec![greeting(), packet(2, &[])]),
        ("no key", vec![greeting(), packet(2, &[1, 4]), packet(4, &[])]),
        (
            "a key that is none",
            vec![greeting(), packet(2, &[1, 4]), packet(4, b"\x01-----BEGIN PUBLIC KEY-----")],
        ),
        ("another way to log in", vec![greeting(), packet(2, b"\xfemysql_clear_password\0")]),
        ("an old way to log in", vec![greeting(), packet(2, &[0xfe])]),
        ("a wrong sequence", vec![greeting(), packet(77, &[0, 0, 0, 2, 0, 0, 0])]),
        ("no version", vec![greeting(), ok.clone(), packet(1, &[0, 0, 0, 2, 0, 0, 0])]),
        ("a file that it wants", vec![greeting(), ok.clone(), packet(1, b"\xfb/etc/passwd")]),
        ("columns without end", vec![greeting(), ok.clone(), packet(1, &[0xfd, 0xff, 0xff, 0xff])]),
        ("a column that is none", vec![greeting(), ok, [packet(1, &[1]), packet(2, &[9; 40])].concat()]),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let serving = tokio::spawn(serve(listener, says));
        let fields =
            format!("{AD_HOC}\nurl: mysql://127.0.0.1:{port}/app\npool: {{ connect_timeout: 500ms }}");
        let world = World::on(Arc::clone(&server), &fields);
        let error = world.plugin("p").with_deadline(2000).query("SELECT 1", &[]).await.unwrap_err();
        assert!(matches!(error.code, Code::Unavailable | Code::Auth), "{what}: {error}");
        assert_eq!(world.backend.status().leased, 0, "{what}");
        serving.abort();
    }
    let world = World::on(server, AD_HOC);
    assert_eq!(world.plugin("p").value("SELECT 1", &[]).await, "Int(1)");
}

/// Passes on what it gets, but changes the server's byte at `at`.
async fn pass(mut client: TcpStream, port: u16, at: usize, flip: u8) {
    let Ok(mut server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let there = tokio::io::copy(&mut from_client, &mut to_server);
    let back = async {
        let (mut seen, mut bytes) = (0, [0; 4096]);
        while let Ok(count @ 1..) = from_server.read(&mut bytes).await {
            if let Some(byte) = at.checked_sub(seen).and_then(|at| bytes[..count].get_mut(at)) {
                *byte ^= flip;
            }
            seen += count;
            if to_client.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = there => {}
        () = back => {}
    }
}

#[tokio::test]
async fn a_byte_that_changes_on_its_way_is_an_error_or_another_value() {
    let server = Arc::new(Mutex::new(Server::start().unwrap()));
    server
        .lock()
        .unwrap()
        .sql("CREATE TABLE t (a int, b varchar(20), c datetime, d decimal(5,2), e double)")
        .unwrap();
    server
        .lock()
        .unwrap()
        .sql("INSERT INTO t VALUES (1, 'x', '2000-01-01', 1.5, 2), (2, NULL, NULL, NULL, NULL)")
        .unwrap();
    let real = server.lock().unwrap().port();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let at = Arc::new(AtomicUsize::new(0));
    let place = Arc::clone(&at);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let at = place.load(Ordering::SeqCst);
            tokio::spawn(pass(client, real, at / 3, [0x01, 0x80, 0xff][at % 3]));
        }
    });
    let fields = format!(
        "{AD_HOC}\nurl: mysql://127.0.0.1:{port}/app\npool: {{ max: 1, connect_timeout: 300ms, acquire_timeout: 5s, lifetime: 1s }}\n\
         breaker: {{ failures: 1000000 }}"
    );
    let mut answered = 0;
    for round in 0..240 {
        // Every connection is a new one.
        let world = World::on(Arc::clone(&server), &fields);
        at.store(round * 9 + round % 3, Ordering::SeqCst);
        let plugin = world.plugin("p").with_deadline(500);
        match plugin.query("SELECT *, ? FROM t ORDER BY a", &[Cell::Int(5)]).await {
            Ok(_) => answered += 1,
            Err(error) => assert!(error.message.len() < 300, "{error}"),
        }
        assert_eq!(world.backend.status().multiplexed, 0);
    }
    assert!(answered > 15, "{answered}: some bytes do not matter");
    let world = World::on(server, AD_HOC);
    assert_eq!(world.plugin("p").value("SELECT count(*) FROM t", &[]).await, "Int(2)");
}
