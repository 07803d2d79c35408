//! One client connection, from its first byte to its last: hyper drives HTTP, this watches the clock.

mod clock;
mod detect;
mod entrance;
mod flood;
mod handshake;
mod http1;
mod http2;
mod linger;
mod silence;
mod stream;
mod tunnel;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use agw_wasm::ConnectionTls;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use self::clock::{Clock, Cut, after};
pub(crate) use self::entrance::Entrance;
use self::handshake::handshake;
pub(crate) use self::silence::Watch;
use self::stream::ClientStream;
use crate::head::Peer;
use crate::stop::StopWatch;
use crate::worker::Worker;

/// What the exchanges of one connection share.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) entrance: Rc<Entrance>,
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// `None` is plaintext.
    pub(crate) tls: Option<Arc<ConnectionTls>>,
    /// What the listener's policy says of the peer.
    pub(crate) introduction: Peer,
    /// Why the gateway closes it with all its streams, once it does.
    cut: Cell<Option<Cut>>,
    /// Of the stream of HTTP/2 that becomes a tunnel: hyper hands over its writer in the turn in which it sends the head.
    upgrading: Cell<Option<Rc<Clock>>>,
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Version {
    Http1,
    Http2,
}

/// Serves the connection until it ends, one side closes it, or its time is up. Dropping the future closes it.
pub(crate) async fn drive(worker: Rc<Worker>, entrance: Rc<Entrance>, stream: TcpStream, peer: SocketAddr) {
    let local = stream.local_addr().unwrap_or(entrance.listener.address);
    let clock = Rc::new(Clock::new(Instant::now(), &entrance.listener));
    let mut stop = StopWatch::new(&entrance.ending);
    let protocols = entrance.listener.protocols;
    // What is not on every connection's way is boxed, so that it costs nothing where it is not.
    let (mut stream, tls, agreed) = match &entrance.tls {
        None => (ClientStream::plain(stream), None, (!protocols.http2).then_some(Version::Http1)),
        Some(server) => match Box::pin(handshake(&entrance, server, &clock, &mut stop, stream)).await {
            Some(secured) => (secured.stream, Some(secured.tls), Some(secured.version)),
            None => return,
        },
    };
    let version = match agreed {
        Some(Version::Http1) => Version::Http1,
        // An HTTP/2 client that was agreed with still has to say its preface, and in time.
        _ => match detect::detect(&entrance.listener, &clock, &mut stop, &mut stream).await {
            Ok(Some(version)) => agreed.unwrap_or(version),
            Ok(None) => return,
            Err(cut) => {
                tracing::debug!(source = %peer, ?cut, "connection closed");
                return;
            }
        },
    };
    let connection = Connection::new(Rc::clone(&worker), Rc::clone(&entrance), peer, local, tls);
    let connection = Rc::new(connection);
    match version {
        Version::Http1 if protocols.http1 => http1::drive(&connection, clock, &mut stop, stream).await,
        // A client that does not speak it learns so from h2.
        _ => Box::pin(http2::drive(&connection, clock, &mut stop, stream)).await,
    }
}

impl Connection {
    fn new(
        worker: Rc<Worker>,
        entrance: Rc<Entrance>,
        peer: SocketAddr,
        local: SocketAddr,
        tls: Option<Arc<ConnectionTls>>,
    ) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            introduction: Peer::new(peer, &entrance.listener),
            cut: Cell::new(None),
            upgrading: Cell::new(None),
            worker,
            entrance,
            peer,
            local,
            tls,
        }
    }

    /// The stream with this clock becomes a tunnel.
    pub(crate) fn set_upgrading(&self, clock: &Rc<Clock>) {
        self.upgrading.set(Some(Rc::clone(clock)));
    }

    /// Why the gateway closed it, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }
}
