//! `agw_sql` on a Postgres server of the test's own: types, deadlines, dead servers, and attempts to get out.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a surprise is a failed test")]

mod cache;
mod cursors;
mod deadlines;
mod errors;
mod hosts;
mod injection;
mod login;
mod pipelined;
mod read_only;
mod statements;
mod trouble;
mod types;
mod world;

use agw_tests::{Postgres as Server, PostgresOptions as Options};

const KIND: &str = "postgres";
const DATABASE: &str = "postgres";
/// Statements of the account `agw` that run on the server now.
const RUNNING: &str = "SELECT query FROM pg_stat_activity WHERE usename = 'agw' AND state <> 'idle'";
