use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;

fn sockets(count: usize) -> Vec<TcpListener> {
    (0..count).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect()
}

fn passed(sockets: &[TcpListener]) -> io::Result<Passed> {
    let listener = |(at, socket): (usize, &TcpListener)| Ok((format!("l{at}"), socket.try_clone()?));
    let admin = sockets.first().map(TcpListener::try_clone).transpose()?;
    Ok(Passed { listeners: sockets.iter().enumerate().map(listener).collect::<io::Result<_>>()?, admin })
}

/// What the new process gets, on a thread of its own; `word` is what it says then.
fn successor(path: &Path, word: &'static [u8]) -> std::thread::JoinHandle<Result<usize>> {
    let path = path.to_owned();
    std::thread::spawn(move || {
        let (mut predecessor, passed) = Predecessor::find(&path)?.context("nobody is there")?;
        let right = passed.listeners.iter().enumerate().all(|(at, (name, _))| *name == format!("l{at}"));
        anyhow::ensure!(right && passed.admin.is_some(), "{passed:?}");
        predecessor.stream.write_all(word)?;
        Ok(passed.listeners.len())
    })
}

#[test]
fn a_path_that_is_no_socket_is_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agw.sock");
    std::fs::write(&path, "precious").expect("it is written");
    let error = Predecessor::find(&path).expect_err("it is a file");
    assert!(format!("{error:#}").contains("it is no socket"), "{error:#}");
    assert_eq!(std::fs::read(&path).expect("it is there"), b"precious");
}

#[tokio::test]
async fn a_path_without_a_process_is_a_fresh_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agw.sock");
    assert!(Predecessor::find(&path).expect("nothing is wrong").is_none());
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a socket"));
    assert!(Predecessor::find(&path).expect("it is stale").is_none());
    let mut offer = Offer::prepare(&path).expect("it listens");
    offer.publish(&path).expect("it takes the stale one's place");
    let mode = std::fs::metadata(&path).expect("it is there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(offer);
    assert!(!path.exists(), "it tidies up");
}

#[tokio::test]
async fn the_old_process_goes_on_until_one_says_that_it_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agw.sock");
    let mut offer = Offer::prepare(&path).expect("it listens");
    offer.publish(&path).expect("it is published");
    let sockets = sockets(150);
    let asked = AtomicUsize::new(0);
    let handed = offer.handed_over(|| {
        asked.fetch_add(1, Ordering::Relaxed);
        passed(&sockets)
    });
    let successors = async {
        for word in [&b""[..], b"serv", b"nonsense", b"serving\n"] {
            let successor = successor(&path, word);
            let joined = tokio::task::spawn_blocking(move || successor.join().expect("no panic"));
            assert_eq!(joined.await.expect("no panic").expect("it has the sockets"), 150);
        }
    };
    tokio::join!(handed, successors);
    assert_eq!(asked.load(Ordering::Relaxed), 4);
    drop(StdUnixStream::connect(&path).expect("the file is left until the offer is dropped"));
}

#[tokio::test]
async fn the_file_of_a_successor_is_not_removed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("agw.sock");
    let mut old = Offer::prepare(&path).expect("it listens");
    old.publish(&path).expect("it is published");
    std::fs::rename(&path, folder.path().join("moved")).expect("it is moved");
    let _new = std::os::unix::net::UnixListener::bind(&path).expect("a socket");
    drop(old);
    assert!(path.exists());
}
