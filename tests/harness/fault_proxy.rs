use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use agw_tests::{FaultProxy, Mode};
use anyhow::Result;
use bytes::Bytes;

/// A server that sends back what it gets, until its listener's process ends.
fn echo() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || {
                let mut chunk = [0; 4096];
                let mut stream = stream;
                while let Ok(read) = stream.read(&mut chunk) {
                    if read == 0 || stream.write_all(&chunk[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    Ok(address)
}

fn proxy() -> Result<FaultProxy> {
    FaultProxy::start(echo()?.to_string())
}

fn connect(proxy: &FaultProxy) -> Result<TcpStream> {
    let stream = TcpStream::connect(proxy.address())?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    Ok(stream)
}

/// Sends `bytes` and reads as many.
fn exchange(stream: &mut TcpStream, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(bytes)?;
    let mut back = vec![0; bytes.len()];
    stream.read_exact(&mut back)?;
    Ok(back)
}

#[test]
fn bytes_pass_and_connections_are_counted() -> Result<()> {
    let proxy = proxy()?;
    let mut first = connect(&proxy)?;
    assert_eq!(exchange(&mut first, b"hello")?, b"hello");
    let mut second = connect(&proxy)?;
    assert_eq!(exchange(&mut second, b"again")?, b"again");
    assert_eq!((proxy.accepted(), proxy.open(), proxy.open_max()), (2, 2, 2));

    drop(first);
    let end = Instant::now() + Duration::from_secs(5);
    while proxy.open() != 1 {
        assert!(Instant::now() < end, "a closed connection is still counted as open");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(proxy.open_max(), 2);
    Ok(())
}

#[test]
fn refusing_ends_open_connections_and_the_port_comes_back() -> Result<()> {
    let proxy = proxy()?;
    let mut open = connect(&proxy)?;
    exchange(&mut open, b"x")?;

    proxy.set(Mode::Refuse)?;
    assert_eq!(open.read(&mut [0; 8])?, 0, "the open connection ends");
    let error = TcpStream::connect(proxy.address()).expect_err("nothing listens");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);

    proxy.set(Mode::Pass)?;
    assert_eq!(exchange(&mut connect(&proxy)?, b"back")?, b"back");
    Ok(())
}

#[test]
fn a_thousand_replies_are_held_at_once() -> Result<()> {
    let proxy = proxy()?;
    proxy.set(Mode::HoldReplies(Duration::from_millis(300)))?;
    let mut streams = (0..100).map(|_| connect(&proxy)).collect::<Result<Vec<_>>>()?;
    let start = Instant::now();
    for stream in &mut streams {
        for _ in 0..10 {
            stream.write_all(b"0123456789")?;
        }
    }
    for stream in &mut streams {
        stream.read_exact(&mut [0; 100])?;
    }
    let took = start.elapsed();
    assert!(took >= Duration::from_millis(300), "held only {took:?}");
    assert!(took < Duration::from_secs(3), "the delays added up to {took:?}");
    Ok(())
}

#[test]
fn a_reply_is_cut_after_the_given_number_of_bytes() -> Result<()> {
    let proxy = proxy()?;
    let mut stream = connect(&proxy)?;
    exchange(&mut stream, b"whole")?;
    proxy.set(Mode::CutAfter(7))?;
    stream.write_all(b"0123")?;
    stream.read_exact(&mut [0; 4])?;
    stream.write_all(b"456789")?;
    let mut rest = Vec::new();
    stream.read_to_end(&mut rest)?;
    assert_eq!(rest, b"456");
    Ok(())
}

#[test]
fn a_stall_moves_nothing_until_it_ends() -> Result<()> {
    let proxy = proxy()?;
    let mut stream = connect(&proxy)?;
    exchange(&mut stream, b"x")?;
    proxy.set(Mode::Stall)?;
    stream.set_read_timeout(Some(Duration::from_millis(100)))?;
    let error = exchange(&mut stream, b"later").expect_err("nothing moves");
    assert!(matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut), "{error}");

    proxy.set(Mode::Pass)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut back = [0; 5];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"later");
    Ok(())
}

#[test]
fn a_reset_is_seen_as_one() -> Result<()> {
    let proxy = proxy()?;
    let mut stream = connect(&proxy)?;
    exchange(&mut stream, b"x")?;
    proxy.set(Mode::Reset)?;
    let error = stream.read(&mut [0; 1]).expect_err("the connection was reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    Ok(())
}

#[test]
fn slow_bytes_come_one_by_one() -> Result<()> {
    let proxy = proxy()?;
    proxy.set(Mode::SlowBytes(Duration::from_millis(20)))?;
    let mut stream = connect(&proxy)?;
    let start = Instant::now();
    assert_eq!(exchange(&mut stream, b"0123456789")?, b"0123456789");
    assert!(start.elapsed() >= Duration::from_millis(180), "{:?}", start.elapsed());
    Ok(())
}

#[test]
fn garbage_takes_the_place_of_the_reply() -> Result<()> {
    let proxy = proxy()?;
    proxy.set(Mode::Garbage(Bytes::from_static(b"\xff\xfenot it")))?;
    let mut stream = connect(&proxy)?;
    stream.write_all(b"PING")?;
    let mut back = [0; 8];
    stream.read_exact(&mut back)?;
    assert_eq!(&back, b"\xff\xfenot it");
    Ok(())
}
