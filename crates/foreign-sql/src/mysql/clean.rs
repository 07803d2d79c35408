//! How a connection stays fit for the next call: replaced when it is gone, tidied after a failure, as it was opened.

use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use mysql_async::consts::StatusFlags;
use mysql_async::prelude::Queryable;
use mysql_async::{BinaryProtocol, QueryResult};
use tokio::time::{Instant, timeout_at};

use super::failure::{Failed, failed, is_interrupted};
use super::open::say_goodbye;
use super::rows::discard;
use super::session::Session;
use crate::engine::Stopper;
use crate::error::{ConnectError, lost};

/// A connection that nobody used for this long is asked whether it is still there.
const ASKED_AFTER: Duration = Duration::from_secs(1);
/// Rows that nobody wants and that are read to their end before the server is asked to stop.
const REST_ROWS: usize = 100;
/// Kills that the proof takes in before it gives up.
const LATE_KILLS_MAX: usize = 3;

impl Session {
    /// The pool cannot see that the server has closed a connection; so one that was idle is asked, and replaced.
    /// Nothing of the work has been sent yet.
    pub(super) async fn wake(&mut self) -> Result<(), Failed> {
        if self.used.elapsed() < ASKED_AFTER || self.conn.ping().await.is_ok() {
            return Ok(());
        }
        let until = Instant::now() + self.link.host().connect_timeout;
        let opened = timeout_at(until, self.hosts.open(until)).await;
        let opened = opened.unwrap_or(Err(ConnectError::Timeout));
        let (opened, link) = opened.map_err(|error| Failed::broken(error.call_error()))?;
        (self.conn, self.flavour, self.packet_max) = (opened.conn, opened.flavour, opened.packet_max);
        self.stop.aim(Arc::clone(link.host()), opened.target);
        self.link = link;
        self.is_as_opened();
        Ok(())
    }

    /// After a failure: what is left of the result is read or stopped, the transaction is rolled back.
    pub(super) async fn tidy(&mut self) -> Result<(), Failed> {
        self.cursor = None;
        if self.has_rows {
            self.drain().await?;
        }
        for _ in 0..LATE_KILLS_MAX {
            if !self.in_transaction {
                break;
            }
            match self.conn.query_drop("ROLLBACK").await {
                Ok(()) => self.in_transaction = false,
                // What stopped the work may arrive only now, and must not stop this.
                Err(error) if is_interrupted(&error) => {}
                Err(error) => return Err(Failed { broken: true, ..failed(&error, false) }),
            }
        }
        if self.in_transaction {
            return Err(Failed::broken(lost()));
        }
        if self.spent { self.renew().await } else { Ok(()) }
    }

    /// Reads rows that nobody wants: a few, and then those that come before the server has stopped.
    async fn drain(&mut self) -> Result<(), Failed> {
        // One that was told to stop is being killed already.
        let running = self.stop.running();
        let mut rows = QueryResult::<BinaryProtocol>::new(&mut self.conn);
        for _ in 0..REST_ROWS {
            if !discard(&mut rows).await? {
                self.has_rows = false;
                return Ok(());
            }
        }
        let reading = async {
            while discard(&mut rows).await? {}
            drop(running);
            Ok::<_, Failed>(())
        };
        let (read, ()) = tokio::join!(reading, self.stop.stop());
        read?;
        self.has_rows = false;
        Ok(())
    }

    /// The session as it was when it was opened.
    pub(super) async fn renew(&mut self) -> Result<(), Failed> {
        let reset = self.conn.reset().await;
        let reset = reset.map_err(|error| Failed { broken: true, ..failed(&error, false) })?;
        if !reset {
            return Err(Failed::broken(lost()));
        }
        let set_up = self.link.host().set_up(&mut self.conn, self.flavour).await;
        set_up.map_err(|error| Failed::broken(error.call_error()))?;
        self.is_as_opened();
        Ok(())
    }

    fn is_as_opened(&mut self) {
        (self.may_write, self.limit_ms, self.is_told) = (false, self.link.host().statement_ms, true);
        (self.spent, self.has_visitors) = (false, false);
    }

    /// Ends a cursor and a transaction, takes in whatever was sent to stop a statement, and looks.
    pub(crate) async fn prove_clean(&mut self) -> bool {
        if self.tidy().await.is_err() || self.stop.is_unanswered() {
            return false;
        }
        for _ in 0..LATE_KILLS_MAX {
            match self.conn.query_drop("DO 0").await {
                Ok(()) => {
                    let status = self.conn.last_ok_packet().map(|ok| ok.status_flags());
                    let clean = status.is_some_and(|status| {
                        status.contains(StatusFlags::SERVER_STATUS_AUTOCOMMIT)
                            && !status.contains(StatusFlags::SERVER_STATUS_IN_TRANS)
                    });
                    self.used = Instant::now();
                    return clean && !self.spent && !self.conn.is_disconnected();
                }
                Err(error) if is_interrupted(&error) => {}
                Err(_) => return false,
            }
        }
        false
    }

    /// Says goodbye, within bounds. The driver itself closes without, and reads every row that is still to come before that,
    /// in a task of nobody's: in mid-result it is kept from it by a call that is given up at once.
    pub(crate) fn close(mut self) {
        if self.has_rows || self.is_busy {
            let _ = self.conn.ping().now_or_never();
        } else {
            say_goodbye(self.conn);
        }
    }
}
