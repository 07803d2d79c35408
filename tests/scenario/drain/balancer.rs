//! Which of the two gateways gets the next connection.

use std::net::SocketAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

/// No connection takes longer to be made on loopback.
const CONNECTED_WITHIN: Duration = Duration::from_secs(10);

/// See the module.
pub(super) struct Balancer {
    addresses: [SocketAddr; 2],
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    backends: [Backend; 2],
    turn: usize,
}

#[derive(Debug, Default)]
struct Backend {
    /// Takes new connections.
    out: bool,
    /// Connections that are being made.
    connecting: usize,
    /// Connections that are made, and not closed by the client.
    open: usize,
    /// Which process has the address.
    generation: usize,
    /// The processes that got their signal while clients could still come.
    surprised: Vec<usize>,
}

/// A place in the count of a gateway's connections.
pub(super) struct Slot<'a> {
    balancer: &'a Balancer,
    at: usize,
    generation: usize,
    connected: bool,
}

// === impl Balancer ===

impl Balancer {
    /// Both take connections.
    pub(super) fn new(addresses: [SocketAddr; 2]) -> Self {
        Balancer { addresses, state: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next gateway in turn that takes connections: one always does.
    pub(super) fn next(&self) -> Slot<'_> {
        let mut state = self.lock();
        state.turn += 1;
        let turn = state.turn % 2;
        let at = if state.backends[turn].out { 1 - turn } else { turn };
        let backend = &mut state.backends[at];
        backend.connecting += 1;
        Slot { balancer: self, at, generation: backend.generation, connected: false }
    }

    /// The gateway is about to end. If that is announced, it gets no more connections, and none is being made when
    /// this returns. How many it has.
    pub(super) fn leave(&self, at: usize, announced: bool) -> Result<usize> {
        let end = Instant::now() + CONNECTED_WITHIN;
        loop {
            let mut state = self.lock();
            let backend = &mut state.backends[at];
            if !announced {
                backend.surprised.push(backend.generation);
                return Ok(backend.open);
            }
            backend.out = true;
            if backend.connecting == 0 {
                return Ok(backend.open);
            }
            drop(state);
            ensure!(Instant::now() < end, "connections are still being made");
            thread::sleep(Duration::from_micros(100));
        }
    }

    /// Another process has the gateway's address.
    pub(super) fn enter(&self, at: usize) {
        let backend = &mut self.lock().backends[at];
        backend.generation += 1;
        backend.out = false;
    }
}

// === impl Slot ===

impl Slot<'_> {
    /// Where to connect.
    pub(super) fn address(&self) -> SocketAddr {
        self.balancer.addresses[self.at]
    }

    /// The connection is made.
    pub(super) fn connected(&mut self) {
        let backend = &mut self.balancer.lock().backends[self.at];
        backend.connecting -= 1;
        backend.open += 1;
        self.connected = true;
    }

    /// Nobody is there: no more connections until another process has the address. Whether that process was ended
    /// by surprise, so that clients could meet it.
    pub(super) fn was_surprised(&self) -> bool {
        let backend = &mut self.balancer.lock().backends[self.at];
        let surprised = backend.surprised.contains(&self.generation);
        if surprised && backend.generation == self.generation {
            backend.out = true;
        }
        surprised
    }
}

impl Drop for Slot<'_> {
    fn drop(&mut self) {
        let backend = &mut self.balancer.lock().backends[self.at];
        if self.connected {
            backend.open -= 1;
        } else {
            backend.connecting -= 1;
        }
    }
}
