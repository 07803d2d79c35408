//! Sockets over a Unix socket: a list of what comes, then the file descriptors in its order.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream as StdUnixStream;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags,
};
use serde_json::{Value, json};
use tokio::io::Interest;
use tokio::net::UnixStream;

use super::read_exact;

/// Of the form of the list.
const VERSION: u64 = 1;

/// Descriptors in one message; the kernel's bound is 253.
const BATCH: usize = 64;

/// Listeners times workers; the rest of the bounds of a configuration lie far below.
const SOCKETS_MAX: usize = 16_384;

/// Of the list.
const LIST_BYTES_MAX: usize = 4 << 20;

/// Goes with each batch: descriptors travel with bytes only.
const MARK: &[u8; 1] = b"+";

/// The listening sockets of a process.
#[derive(Debug, Default)]
pub(crate) struct Passed {
    /// By the listener's name; one for each worker, or more.
    pub(crate) listeners: Vec<(String, TcpListener)>,
    pub(crate) admin: Option<TcpListener>,
}

/// Sends the list and the sockets.
///
/// # Cancel safety
/// Not safe: the other side has a part of them, and gives up at the end of the stream.
pub(super) async fn send(stream: &UnixStream, passed: &Passed) -> io::Result<()> {
    let list = list(passed)?.to_string();
    let length = u32::try_from(list.len()).map_err(io::Error::other)?;
    let head = [&length.to_le_bytes(), list.as_bytes()].concat();
    let mut sent = 0;
    while let Some(rest) = head.get(sent..).filter(|rest| !rest.is_empty()) {
        sent += stream.async_io(Interest::WRITABLE, || stream.try_write(rest)).await?;
    }
    let sockets = passed.listeners.iter().map(|(_, socket)| socket).chain(&passed.admin);
    let sockets: Vec<BorrowedFd<'_>> = sockets.map(AsFd::as_fd).collect();
    for batch in sockets.chunks(BATCH) {
        stream.async_io(Interest::WRITABLE, || send_batch(stream, batch)).await?;
    }
    Ok(())
}

fn list(passed: &Passed) -> io::Result<Value> {
    let listener = |(name, socket): &(String, TcpListener)| {
        Ok(json!({ "name": name, "address": socket.local_addr()?.to_string() }))
    };
    let listeners = passed.listeners.iter().map(listener).collect::<io::Result<Vec<_>>>()?;
    Ok(json!({ "version": VERSION, "listeners": listeners, "admin": passed.admin.is_some() }))
}

fn send_batch(stream: &UnixStream, batch: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(batch)) {
        return Err(io::Error::other("a batch has more descriptors than its space"));
    }
    rustix::net::sendmsg(stream, &[IoSlice::new(MARK)], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// Receives what [`send`] sends, within the stream's own time-outs.
pub(super) fn receive(stream: &StdUnixStream) -> io::Result<Passed> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut length = [0; 4];
    read_exact(stream, &mut length)?;
    let length = u32::from_le_bytes(length) as usize;
    if length > LIST_BYTES_MAX {
        return Err(bad("the list of sockets is too long"));
    }
    let mut list = vec![0; length];
    read_exact(stream, &mut list)?;
    let list: Value = serde_json::from_slice(&list)?;
    if list["version"] != VERSION {
        return Err(bad("the other process speaks another version; restart instead"));
    }
    let names = list["listeners"].as_array().ok_or_else(|| bad("there is no list of listeners"))?;
    let count = names.len() + usize::from(list["admin"] == true);
    if count > SOCKETS_MAX {
        return Err(bad("there are too many sockets"));
    }
    let mut sockets = receive_sockets(stream, count)?.into_iter().map(TcpListener::from);
    let mut passed = Passed::default();
    for (name, socket) in names.iter().zip(&mut sockets) {
        if name["address"] != socket.local_addr()?.to_string() {
            return Err(bad("a socket has another address than the list says"));
        }
        passed.listeners.push((name["name"].as_str().unwrap_or_default().to_owned(), socket));
    }
    passed.admin = sockets.next();
    Ok(passed)
}

fn receive_sockets(stream: &StdUnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(BATCH))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut mark = [0];
        let received = rustix::io::retry_on_intr(|| {
            rustix::net::recvmsg(
                stream,
                &mut [IoSliceMut::new(&mut mark)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        if received.bytes == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let before = sockets.len();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(batch) = message {
                sockets.extend(batch);
            }
        }
        if sockets.len() == before {
            // The kernel drops what our limit of open files has no room for.
            return Err(io::Error::other(
                "fewer sockets came than the list says; is the limit of open files too low?",
            ));
        }
    }
    Ok(sockets)
}
