//! Listener sockets: one per worker and address.
//!
//! `SO_REUSEPORT` lets each worker have its own socket, but it would also let a second gateway of the same user share
//! the port without a word. So the first socket of an address binds without it, which fails if anyone has the port,
//! and turns it on afterwards: the sockets of the other workers then join. There is no moment at which a second
//! process could get in between, since its first socket is exclusive too.
//!
//! A successor is handed the sockets of its predecessor instead. It keeps all of them, however many workers it has: a
//! connection that the kernel has completed waits in the queue of one of them, and closing the last reference to a
//! socket resets what waits there. Workers beyond their number join with sockets of their own.

use std::io;
use std::net::{SocketAddr, TcpListener};

use agw_config::Listener;
use socket2::{Domain, Protocol, Socket, Type};

use crate::error::BindError;
use crate::limits::BACKLOG;

/// One listener's sockets, one per worker, all on the same address.
#[derive(Debug)]
pub(crate) struct Sockets {
    /// With the port that was chosen, if the configured one was 0.
    pub(crate) address: SocketAddr,
    /// At least as many as there are workers.
    pub(crate) sockets: Vec<TcpListener>,
}

/// Listening sockets of a predecessor. Those whose address no listener has any more are closed with it; their
/// connections are the predecessor's to accept.
#[derive(Debug, Default)]
pub struct Inherited {
    sockets: Vec<(SocketAddr, TcpListener)>,
}

impl Inherited {
    /// One more.
    ///
    /// # Errors
    /// When its address cannot be read, or it cannot be made non-blocking.
    pub fn add(&mut self, socket: TcpListener) -> io::Result<()> {
        socket.set_nonblocking(true)?;
        self.sockets.push((socket.local_addr()?, socket));
        Ok(())
    }

    fn take(&mut self, address: SocketAddr) -> Vec<TcpListener> {
        self.sockets.extract_if(.., |(theirs, _)| *theirs == address).map(|(_, socket)| socket).collect()
    }
}

/// The sockets of the listener's address: those inherited, or at least `workers` that are bound to it.
pub(crate) fn bind(
    listener: &Listener,
    workers: usize,
    inherited: &mut Inherited,
) -> Result<Sockets, BindError> {
    let inherited = inherited.take(listener.address);
    let bound = match inherited.is_empty() {
        true => sockets(listener.address, workers),
        false => extended(listener.address, inherited, workers),
    };
    bound.map_err(|source| {
        let (listener, address) = (listener.name.clone(), listener.address);
        match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { listener, address, source },
            _ => BindError::Refused { listener, address, source },
        }
    })
}

fn sockets(wanted: SocketAddr, workers: usize) -> io::Result<Sockets> {
    let first = socket(wanted)?;
    first.bind(&wanted.into())?;
    first.set_reuse_port(true)?;
    let address = first.local_addr()?.as_socket().unwrap_or(wanted);
    let mut bound = vec![first];
    for _ in 1..workers {
        bound.push(joined(address)?);
    }
    // Nobody listens before all are bound: a connection must not reach a socket that is about to be given up.
    let mut sockets = Vec::with_capacity(bound.len());
    for socket in bound {
        socket.listen(BACKLOG)?;
        sockets.push(socket.into());
    }
    Ok(Sockets { address, sockets })
}

/// The inherited sockets, and as many more as there are workers without one.
fn extended(address: SocketAddr, mut sockets: Vec<TcpListener>, workers: usize) -> io::Result<Sockets> {
    for _ in sockets.len()..workers {
        let next = joined(address)?;
        next.listen(BACKLOG)?;
        sockets.push(next.into());
    }
    Ok(Sockets { address, sockets })
}

/// One more socket on an address whose first socket is ours.
fn joined(address: SocketAddr) -> io::Result<Socket> {
    let next = socket(address)?;
    next.set_reuse_port(true)?;
    next.bind(&address.into())?;
    Ok(next)
}

fn socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier run that linger in TIME_WAIT must not hold the port.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    fn listener(address: SocketAddr) -> Listener {
        Listener::new("main", address)
    }

    fn bind(listener: &Listener, workers: usize) -> Result<Sockets, BindError> {
        super::bind(listener, workers, &mut Inherited::default())
    }

    fn any_port() -> SocketAddr {
        ([127, 0, 0, 1], 0).into()
    }

    #[test]
    fn a_port_that_another_gateway_holds_is_an_error() {
        let first = bind(&listener(any_port()), 2).unwrap();
        let error = bind(&listener(first.address), 2).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
        assert!(error.to_string().contains(&first.address.to_string()), "{error}");
    }

    #[test]
    fn a_port_that_an_ordinary_socket_holds_is_an_error() {
        let holder = TcpListener::bind(any_port()).unwrap();
        let error = bind(&listener(holder.local_addr().unwrap()), 1).unwrap_err();
        assert!(matches!(error, BindError::InUse { .. }), "{error:?}");
    }

    #[test]
    fn an_address_of_another_machine_is_refused_with_its_cause() {
        let error = bind(&listener("192.0.2.1:80".parse().unwrap()), 1).unwrap_err();
        assert!(matches!(error, BindError::Refused { .. }), "{error:?}");
        assert!(std::error::Error::source(&error).is_some());
    }

    #[test]
    fn port_zero_gives_all_workers_the_same_port() {
        let bound = bind(&listener(any_port()), 3).unwrap();
        assert_ne!(bound.address.port(), 0);
        for socket in &bound.sockets {
            assert_eq!(socket.local_addr().unwrap(), bound.address);
        }
        TcpStream::connect(bound.address).unwrap();
    }

    #[test]
    fn a_released_port_can_be_bound_again_at_once() {
        let bound = bind(&listener(any_port()), 2).unwrap();
        let client = TcpStream::connect(bound.address).unwrap();
        let address = bound.address;
        drop(bound);
        drop(client);
        bind(&listener(address), 2).unwrap();
    }

    #[test]
    fn inherited_sockets_are_all_kept_and_joined_by_those_of_further_workers() {
        for (theirs, ours) in [(1, 3), (3, 1), (2, 2)] {
            let old = bind(&listener(any_port()), theirs).unwrap();
            let address = old.address;
            // Waits in the queue of one of them.
            let waiting = TcpStream::connect(address).unwrap();
            let mut inherited = Inherited::default();
            for socket in &old.sockets {
                inherited.add(socket.try_clone().unwrap()).unwrap();
            }
            let new = super::bind(&listener(address), ours, &mut inherited).unwrap();
            assert_eq!((new.address, new.sockets.len()), (address, theirs.max(ours)));
            drop(old);
            let accepted = new.sockets.iter().filter_map(|socket| socket.accept().ok()).count();
            assert_eq!(accepted, 1, "{theirs} to {ours}");
            drop(waiting);
        }
    }

    #[test]
    fn sockets_of_an_address_without_listener_are_left() {
        let old = bind(&listener(any_port()), 1).unwrap();
        let mut inherited = Inherited::default();
        inherited.add(old.sockets[0].try_clone().unwrap()).unwrap();
        let new = super::bind(&listener(any_port()), 1, &mut inherited).unwrap();
        assert_ne!(new.address, old.address);
        assert_eq!(inherited.sockets.len(), 1);
    }
}
