//! One client connection, from its first byte to its last: hyper drives HTTP, this watches the clock.

mod clock;
mod detect;
mod entrance;
mod flood;
mod http1;
mod http2;
mod stop;
mod stream;

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderValue;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use self::clock::{Clock, Cut, after};
pub(crate) use self::entrance::Entrance;
use self::stop::StopWatch;
use self::stream::ClientStream;
use crate::head;
use crate::worker::Worker;

/// What the exchanges of one connection share.
pub(crate) struct Connection {
    pub(crate) worker: Rc<Worker>,
    pub(crate) entrance: Rc<Entrance>,
    /// Unique in the process.
    pub(crate) id: u64,
    pub(crate) peer: SocketAddr,
    pub(crate) local: SocketAddr,
    /// The peer, as `x-forwarded-for` names it.
    pub(crate) forwarded_for: HeaderValue,
    /// Why the gateway closes it with all its streams, once it does.
    cut: Cell<Option<Cut>>,
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
    let connection = Rc::new(Connection::new(worker, entrance, peer, local));
    let clock = Rc::new(Clock::new(Instant::now(), &connection.entrance.listener));
    let mut stop = StopWatch::new(&connection.worker);
    let mut stream = ClientStream::plain(stream);
    let protocols = connection.entrance.listener.protocols;
    let version = if protocols.http2 {
        match detect::detect(&connection, &clock, &mut stop, &mut stream).await {
            Ok(Some(version)) => version,
            Ok(None) => return,
            Err(cut) => {
                tracing::debug!(source = %peer, ?cut, "connection closed");
                return;
            }
        }
    } else {
        Version::Http1
    };
    match version {
        Version::Http1 if protocols.http1 => http1::drive(&connection, clock, &mut stop, stream).await,
        // Boxed, so that it costs nothing where it is not spoken. A client that does not speak it learns so from h2.
        _ => Box::pin(http2::drive(&connection, clock, &mut stop, stream)).await,
    }
}

impl Connection {
    fn new(worker: Rc<Worker>, entrance: Rc<Entrance>, peer: SocketAddr, local: SocketAddr) -> Self {
        static NEXT_ID: AtomicU64 = AtomicU64::new(1);
        Connection {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            forwarded_for: head::forwarded_for(peer),
            cut: Cell::new(None),
            worker,
            entrance,
            peer,
            local,
        }
    }

    /// Why the gateway closed it, if it did.
    pub(crate) fn cut(&self) -> Option<Cut> {
        self.cut.get()
    }
}
