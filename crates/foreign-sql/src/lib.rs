#![doc = include_str!("../README.md")]

mod backend;
mod cache;
mod calendar;
mod calls;
mod cursors;
mod engine;
mod error;
mod grant;
mod hosts;
mod lane;
mod mysql;
mod output;
mod plan;
mod pool;
mod postgres;
mod probe;
mod runtime;
mod span;
mod sqlite;
mod tls;

pub use backend::SqlBackend;
pub use error::{BuildError, StartError, StatementProblem};
pub use probe::probe;
pub use runtime::SqlRuntime;
