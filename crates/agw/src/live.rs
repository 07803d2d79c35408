//! A gateway whose configuration may change, and what the admin port shows of it.

use std::sync::Arc;
use std::time::Instant;

use agw_config::Loaded;
use agw_telemetry::{ConfigReloadLabels, Metrics};

use crate::admin::{Admin, View};
use crate::gateway::Gateway;
use crate::reload::{Trigger, Watch};

/// See the module.
pub(crate) struct Live {
    pub(crate) gateway: Gateway,
    /// Nothing if the configuration is no document on this machine.
    pub(crate) watch: Option<Watch>,
    metrics: Arc<Metrics>,
}

impl Live {
    /// Shows the gateway on the admin port.
    pub(crate) fn new(gateway: Gateway, watch: Option<Watch>, metrics: Arc<Metrics>, admin: &Admin) -> Self {
        let live = Live { gateway, watch, metrics };
        live.show(admin, Vec::new());
        live
    }

    /// Reads the document again, and serves with it if it can. Otherwise everything stays as it is, and the log, the
    /// metrics and `/v1/revisions` say why.
    ///
    /// # Cancel safety
    /// Dropped, it has changed nothing or everything, and may not have told of it.
    pub(crate) async fn reload(&mut self, trigger: Trigger, admin: &Admin) {
        let Some(watch) = &mut self.watch else { return };
        let loaded = match watch.load().await {
            Ok(loaded) => loaded,
            Err(problems) => {
                let reasons = problems.iter().map(ToString::to_string).collect();
                return self.refuse(admin, None, reasons);
            }
        };
        let Loaded { snapshot, warnings } = loaded;
        let digest = snapshot.digest.clone();
        let began = Instant::now();
        match self.gateway.apply(snapshot).await {
            Ok(changes) if changes.is_empty() => {
                self.taken("unchanged");
                if trigger == Trigger::Signal {
                    tracing::info!(revision = self.gateway.revision(), "the configuration is as it was");
                }
            }
            Ok(changes) => {
                self.taken("applied");
                self.metrics.config_apply_seconds.observe(began.elapsed().as_secs_f64());
                for warning in &warnings {
                    tracing::warn!("{warning}");
                }
                let revision = self.gateway.revision();
                tracing::info!(revision, changes = changes.join(", "), "another configuration serves");
                self.show(admin, changes);
            }
            Err(error) => self.refuse(admin, Some(digest), vec![format!("{error:#}")]),
        }
    }

    fn taken(&mut self, outcome: &'static str) {
        self.count(outcome);
        if let Some(watch) = &mut self.watch {
            watch.taken();
        }
    }

    fn refuse(&mut self, admin: &Admin, digest: Option<String>, reasons: Vec<String>) {
        self.count("refused");
        if let Some(watch) = &mut self.watch {
            watch.refused();
        }
        let revision = self.gateway.revision();
        let text = reasons.join("; ");
        if admin.revisions().refused(digest, reasons) {
            tracing::error!(revision, "the new configuration is refused, the old one serves on: {text}");
        }
    }

    fn count(&self, outcome: &'static str) {
        self.metrics.config_reloads.get_or_create(&ConfigReloadLabels { outcome }).inc();
    }

    fn show(&self, admin: &Admin, changes: Vec<String>) {
        let revision = self.gateway.revision();
        self.metrics.config_revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
        admin.revisions().applied(revision, &self.gateway.snapshot().digest, changes);
        admin.show(View::of(&self.gateway));
    }
}
