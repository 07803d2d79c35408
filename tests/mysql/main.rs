//! `agw_sql` on a MariaDB server of the test's own: types, deadlines, dead servers, and attempts to get out.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a surprise is a failed test")]

mod cursors;
mod deadlines;
mod errors;
mod hostile;
mod hosts;
mod injection;
mod login;
mod read_only;
mod statements;
mod trouble;
mod types;
#[path = "../sql/world.rs"]
mod world;

use agw_tests::{Mariadb as Server, MariadbOptions as Options};

const KIND: &str = "mysql";
const DATABASE: &str = "app";
/// Statements of the account `agw` that run on the server now.
const RUNNING: &str = "SELECT INFO FROM information_schema.PROCESSLIST WHERE USER = 'agw' AND INFO IS NOT NULL AND COMMAND <> 'Sleep'";
