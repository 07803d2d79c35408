//! Metrics that plugins define. Same plugin, same name: same metric, whichever VM asks.

use agw_telemetry::{Counter, Gauge, Histogram, PluginMetricLabels};
use wasmtime::{Caller, Linker, Result};

use super::ENV;
use crate::guest_memory::{Guest, slice};
use crate::limits::{METRIC_NAME_BYTES_MAX, METRICS_MAX};
use crate::status::Status;
use crate::vm_data::VmData;

pub(crate) fn link(linker: &mut Linker<VmData>) -> Result<()> {
    linker.func_wrap(ENV, "proxy_define_metric", define)?;
    linker.func_wrap(ENV, "proxy_increment_metric", increment)?;
    linker.func_wrap(ENV, "proxy_record_metric", record)?;
    linker.func_wrap(ENV, "proxy_get_metric", get)?;
    Ok(())
}

/// A metric as one VM knows it.
pub(crate) struct Defined {
    name: String,
    metric: Metric,
}

enum Metric {
    Counter(Counter),
    Gauge(Gauge),
    Histogram(Histogram),
}

impl Metric {
    fn kind(&self) -> u32 {
        match self {
            Metric::Counter(_) => 0,
            Metric::Gauge(_) => 1,
            Metric::Histogram(_) => 2,
        }
    }
}

/// An id carries the kind in its low two bits, and is never 0.
fn id(index: usize, kind: u32) -> u32 {
    (index as u32 + 1) << 2 | kind
}

fn find(data: &VmData, id: u32) -> Option<&Metric> {
    let index = (id >> 2).checked_sub(1)?;
    let defined = data.metrics.get(index as usize)?;
    (defined.metric.kind() == id & 3).then_some(&defined.metric)
}

fn define(mut caller: Caller<'_, VmData>, kind: u32, name: u32, name_len: u32, id_cell: u32) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    let name = slice(guest.memory, name, name_len, "proxy_define_metric: name")?;
    let Ok(name) = std::str::from_utf8(name) else { return Ok(Status::BadArgument.into()) };
    if kind > 2 || name.len() > METRIC_NAME_BYTES_MAX {
        return Ok(Status::BadArgument.into());
    }
    let name = name.to_owned();
    let known = guest.data.metrics.iter().position(|d| d.name == name && d.metric.kind() == kind);
    let index = match known {
        Some(index) => index,
        None if !guest.data.plugin.admit_metric(kind, &name) => {
            tracing::error!(plugin.name = &*guest.data.plugin.name, "more than {METRICS_MAX} metrics");
            return Ok(Status::BadArgument.into());
        }
        None => {
            let metric = open(guest.data, kind, &name);
            guest.data.metrics.push(Defined { name, metric });
            guest.data.metrics.len() - 1
        }
    };
    guest.write_u32(id_cell, id(index, kind), "proxy_define_metric: id")?;
    Ok(Status::Ok.into())
}

fn open(data: &VmData, kind: u32, name: &str) -> Metric {
    let labels = PluginMetricLabels { plugin: data.plugin.name.clone(), name: name.to_owned() };
    let metrics = &data.plugin.host.metrics;
    match kind {
        0 => Metric::Counter(metrics.plugin_counters.get_or_create(&labels).clone()),
        1 => Metric::Gauge(metrics.plugin_gauges.get_or_create(&labels).clone()),
        _ => Metric::Histogram(metrics.plugin_histograms.get_or_create(&labels).clone()),
    }
}

fn increment(caller: Caller<'_, VmData>, id: u32, delta: i64) -> Result<u32> {
    let status = match (find(caller.data(), id), u64::try_from(delta)) {
        (None, _) => Status::NotFound,
        (Some(Metric::Counter(counter)), Ok(delta)) if delta > 0 => {
            counter.inc_by(delta);
            Status::Ok
        }
        (Some(Metric::Gauge(gauge)), _) => {
            gauge.inc_by(delta);
            Status::Ok
        }
        _ => Status::BadArgument,
    };
    Ok(status.into())
}

/// As in Envoy, recording into a counter adds to it.
fn record(caller: Caller<'_, VmData>, id: u32, value: u64) -> Result<u32> {
    match find(caller.data(), id) {
        None => return Ok(Status::NotFound.into()),
        Some(Metric::Counter(counter)) => drop(counter.inc_by(value)),
        Some(Metric::Gauge(gauge)) => drop(gauge.set(i64::try_from(value).unwrap_or(i64::MAX))),
        Some(Metric::Histogram(histogram)) => histogram.observe(value as f64),
    }
    Ok(Status::Ok.into())
}

fn get(mut caller: Caller<'_, VmData>, id: u32, value_cell: u32) -> Result<u32> {
    let mut guest = Guest::of(&mut caller)?;
    let value = match find(guest.data, id) {
        None => return Ok(Status::NotFound.into()),
        Some(Metric::Counter(counter)) => counter.get(),
        Some(Metric::Gauge(gauge)) => gauge.get() as u64,
        Some(Metric::Histogram(_)) => return Ok(Status::BadArgument.into()),
    };
    guest.write_u64(value_cell, value, "proxy_get_metric: value")?;
    Ok(Status::Ok.into())
}
