#![doc = include_str!("../README.md")]

mod labels;
mod metrics;
mod trace;

pub use labels::*;
pub use metrics::{Metrics, NodeFigures, Stages};
pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;
pub use trace::*;
