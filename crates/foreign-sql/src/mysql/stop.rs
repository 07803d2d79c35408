//! Stops a statement: `KILL QUERY` on a connection of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agw_wire::CallError;
use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep;

use super::failure::connect_error;
use super::open::{Opener, Target};
use crate::engine::{BoxFuture, Stopper};
use crate::error::{ConnectError, timeout_io};

/// A kill may come before the server has the statement, and is lost then: so it is said again.
const KILL_AGAIN: Duration = Duration::from_millis(50);

/// What stops what runs on one connection.
pub(crate) struct Stop {
    /// The connection, and the host that it goes to.
    aim: Mutex<(Arc<Opener>, Target)>,
    /// No further statement may begin for the work that runs. Cleared when the next work begins.
    stopped: AtomicBool,
    /// A kill went out and no answer came: it may be under way still.
    unanswered: AtomicBool,
    /// A guest's statement is under way.
    running: watch::Sender<bool>,
}

/// A guest's statement under way. Dropped, it is not any more.
pub(crate) struct Running(watch::Sender<bool>);

// === impl Stop ===

impl Stop {
    pub(crate) fn new(opener: Arc<Opener>, target: Target) -> Self {
        let (running, _) = watch::channel(false);
        let (stopped, unanswered) = (AtomicBool::new(false), AtomicBool::new(false));
        Stop { aim: Mutex::new((opener, target)), stopped, unanswered, running }
    }

    pub(crate) fn begin(&self) {
        self.stopped.store(false, Ordering::SeqCst);
    }

    /// The connection has been replaced.
    pub(crate) fn aim(&self, opener: Arc<Opener>, target: Target) {
        *self.aim.lock() = (opener, target);
    }

    /// The connection must not serve anybody else: a kill may come yet.
    pub(crate) fn is_unanswered(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst)
    }

    /// Before every statement of a guest. From here on until the guard is dropped a kill may meet the connection.
    ///
    /// # Errors
    /// `timeout_io` if the work has been told to stop: nothing further of it may begin.
    pub(crate) fn enter(&self) -> Result<Running, CallError> {
        let running = self.running();
        if self.stopped.load(Ordering::SeqCst) { Err(timeout_io()) } else { Ok(running) }
    }

    /// As [`Stop::enter`], for rows of a statement that is to be stopped.
    pub(crate) fn running(&self) -> Running {
        self.running.send_replace(true);
        Running(self.running.clone())
    }

    /// Kills until the statement has ended. What was sent has been answered when this returns without an error, so that
    /// nothing is under way any more: what is left of it is a mark on the connection, which the proof that follows wipes out.
    async fn kill(&self) -> Result<(), ConnectError> {
        let mut running = self.running.subscribe();
        if !*running.borrow_and_update() {
            return Ok(());
        }
        let (opener, target) = self.aim.lock().clone();
        let mut side = tokio::select! {
            biased;
            _ = running.wait_for(|running| !running) => return Ok(()),
            side = opener.reach(target.address) => side?,
        };
        let killed = self.kill_over(&mut side, &opener, &target).await;
        // It is of no use any more, however it ends.
        let _ = side.disconnect().await;
        killed
    }

    async fn kill_over(&self, side: &mut Conn, opener: &Opener, target: &Target) -> Result<(), ConnectError> {
        let mut running = self.running.subscribe();
        if !is_there(side, target).await? {
            return Err(ConnectError::Login("the server does not know the connection any more".into()));
        }
        while *running.borrow_and_update() {
            let _turn = tokio::select! {
                _ = running.wait_for(|running| !running) => break,
                turn = opener.kills.acquire() => turn,
            };
            self.unanswered.store(true, Ordering::SeqCst);
            side.query_drop(format!("KILL QUERY {}", target.id)).await.map_err(connect_error)?;
            self.unanswered.store(false, Ordering::SeqCst);
            tokio::select! {
                _ = running.wait_for(|running| !running) => {}
                () = sleep(KILL_AGAIN) => {}
            }
        }
        Ok(())
    }
}

/// Ids begin anew when a server restarts. The address with the port is this connection's alone as long as it is open
/// here.
async fn is_there(side: &mut Conn, target: &Target) -> Result<bool, ConnectError> {
    let text = format!("SELECT HOST FROM information_schema.PROCESSLIST WHERE ID = {}", target.id);
    let row: Option<mysql_async::Row> = side.query_first(text).await.map_err(connect_error)?;
    let host = row.and_then(|row| row.get_opt::<String, _>(0)).and_then(Result::ok);
    Ok(host.is_some_and(|host| host == target.host))
}

impl Stopper for Stop {
    fn stop(&self) -> BoxFuture<'_, ()> {
        // Before the first poll: what runs may be between two statements.
        self.stopped.store(true, Ordering::SeqCst);
        Box::pin(async move {
            if let Err(error) = self.kill().await {
                // The statement ends by its own limit; its connection is thrown away before that.
                tracing::debug!(class = error.class(), "a statement could not be killed: {error}");
            }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_replace(false);
    }
}
