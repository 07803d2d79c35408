//! `agw_sql` on SQLite as a plugin sees it: through its grants, the resource's gate and the pool, with the bytes of the
//! wire on both sides.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a surprise is a failed test")]

mod answers;
mod cached;
mod cursors;
mod deadlines;
mod errors;
mod fairness;
mod read_only;
mod start;
mod types;
mod world;
