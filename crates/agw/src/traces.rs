//! Who exports the spans of a snapshot's requests; and whose time is over, until they have sent what they have.

use std::sync::Arc;

use agw_config::{Snapshot, Tracing};
use agw_otlp::Exporter;
use agw_telemetry::{Metrics, Tracer};
use anyhow::{Context, Result};

/// Every exporter of the process.
#[derive(Default)]
pub(crate) struct Traces {
    current: Option<Current>,
    /// They end by themselves, within bounds.
    retiring: Vec<Exporter>,
}

struct Current {
    config: Arc<Tracing>,
    tracer: Arc<Tracer>,
    exporter: Exporter,
}

/// What a snapshot wants.
pub(crate) enum Wanted {
    /// What there is.
    Same,
    /// Another, which has started; or none.
    Other(Option<Started>),
}

/// An exporter that has nothing to do yet.
pub(crate) struct Started(Current);

// === impl Traces ===

impl Traces {
    /// Makes what a snapshot wants, beside what there is. Dropped, it has changed nothing.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub(crate) fn prepare(&self, snapshot: &Snapshot, metrics: &Metrics) -> Result<Wanted> {
        let known = self.current.as_ref().map(|current| &current.config);
        if known == snapshot.tracing.as_ref() {
            return Ok(Wanted::Same);
        }
        let start = |config: &Arc<Tracing>| {
            let (tracer, exporter) = Exporter::start(config, metrics).context("set up tracing")?;
            anyhow::Ok(Started(Current { config: Arc::clone(config), tracer, exporter }))
        };
        Ok(Wanted::Other(snapshot.tracing.as_ref().map(start).transpose()?))
    }

    /// Who decides about requests with what is wanted.
    pub(crate) fn tracer(&self, wanted: &Wanted) -> Option<Arc<Tracer>> {
        let current = match wanted {
            Wanted::Same => self.current.as_ref(),
            Wanted::Other(other) => other.as_ref().map(|Started(current)| current),
        };
        current.map(|current| Arc::clone(&current.tracer))
    }

    /// From now on this is what there is. What was before sends what it has, and what requests that began with it still
    /// give it, within bounds.
    pub(crate) fn take(&mut self, wanted: Wanted) {
        self.retiring.retain(|exporter| !exporter.is_finished());
        let Wanted::Other(next) = wanted else { return };
        let next = next.map(|Started(current)| current);
        if let Some(Current { exporter, .. }) = std::mem::replace(&mut self.current, next) {
            exporter.retire();
            self.retiring.push(exporter);
        }
    }

    /// Sends what is left, within bounds.
    pub(crate) async fn finish(self) {
        let current = self.current.map(|current| current.exporter);
        let exporters: Vec<_> = self.retiring.into_iter().chain(current).collect();
        exporters.iter().for_each(Exporter::stop);
        for exporter in exporters {
            exporter.finish().await;
        }
    }
}
