//! The gateway's metrics, read back from the text format.

use std::collections::BTreeMap;

use anyhow::{Context, Result};

/// One scrape.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    samples: Vec<Sample>,
}

#[derive(Clone, Debug)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A histogram, possibly summed over several label sets.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Buckets {
    /// Upper bound and how many observations are at or below it, in rising order; the last bound is infinite.
    pub cumulative: Vec<(f64, f64)>,
    /// Sum of all observations.
    pub sum: f64,
}

// === impl Metrics ===

impl Metrics {
    /// Reads the Prometheus or OpenMetrics text format.
    ///
    /// # Errors
    /// Names the line that is neither.
    pub fn parse(text: &str) -> Result<Self> {
        let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
        let samples = lines.map(|line| parse_line(line).with_context(|| format!("metric line: {line}")));
        Ok(Metrics { samples: samples.collect::<Result<_>>()? })
    }

    /// The sum over every sample of this name that has these labels; `None` when there is none.
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut values = self.matching(name, labels).map(|sample| sample.value).peekable();
        values.peek()?;
        Some(values.sum())
    }

    /// The histogram of this name (without `_bucket`), summed over every label set that has these labels.
    pub fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Option<Buckets> {
        let mut by_bound: Vec<(f64, f64)> = Vec::new();
        for sample in self.matching(&format!("{name}_bucket"), labels) {
            let bound = number(sample.labels.get("le")?)?;
            match by_bound.iter_mut().find(|(other, _)| *other == bound) {
                Some((_, count)) => *count += sample.value,
                None => by_bound.push((bound, sample.value)),
            }
        }
        by_bound.sort_by(|a, b| a.0.total_cmp(&b.0));
        let sum = self.value(&format!("{name}_sum"), labels)?;
        Some(Buckets { cumulative: by_bound, sum })
    }

    fn matching<'a>(&'a self, name: &'a str, labels: &'a [(&str, &str)]) -> impl Iterator<Item = &'a Sample> {
        self.samples.iter().filter(move |sample| {
            let has = |(key, value): &(&str, &str)| sample.labels.get(*key).is_some_and(|it| it == value);
            sample.name == name && labels.iter().all(has)
        })
    }
}

// === impl Buckets ===

impl Buckets {
    /// All observations.
    pub fn count(&self) -> f64 {
        self.cumulative.last().map_or(0.0, |(_, count)| *count)
    }

    /// Observations that are certainly above `bound`: those past the first bucket bound that is at least `bound`.
    pub fn above(&self, bound: f64) -> f64 {
        let within =
            self.cumulative.iter().find(|(upper, _)| *upper >= bound).map_or(0.0, |(_, count)| *count);
        self.count() - within
    }

    /// The upper bound of the bucket in which this share of the observations ends.
    pub fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count();
        self.cumulative.iter().find(|(_, count)| *count >= rank).map_or(0.0, |(upper, _)| *upper)
    }

    /// What was observed since `before`, an earlier scrape of the same histogram.
    pub fn since(&self, before: &Buckets) -> Buckets {
        let earlier =
            |bound: f64| before.cumulative.iter().find(|(b, _)| *b == bound).map_or(0.0, |(_, c)| *c);
        let cumulative =
            self.cumulative.iter().map(|(bound, count)| (*bound, count - earlier(*bound))).collect();
        Buckets { cumulative, sum: self.sum - before.sum }
    }
}

fn parse_line(line: &str) -> Result<Sample> {
    let (name, labels, rest) = match line.split_once('{') {
        Some((name, rest)) => {
            let (labels, rest) = parse_labels(rest)?;
            (name, labels, rest)
        }
        None => {
            let (name, rest) = line.split_once(' ').context("no value")?;
            (name, BTreeMap::new(), rest)
        }
    };
    let value = rest.split_whitespace().next().and_then(number).context("no number")?;
    Ok(Sample { name: name.to_owned(), labels, value })
}

/// Reads up to the closing brace; values may hold any character, three of them escaped.
fn parse_labels(mut rest: &str) -> Result<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        rest = rest.trim_start_matches([',', ' ']);
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok((labels, rest));
        }
        let (key, after) = rest.split_once("=\"").context("a label without a value")?;
        let mut value = String::new();
        let mut characters = after.char_indices();
        rest = loop {
            match characters.next().context("a label value without an end")? {
                (at, '"') => break &after[at + 1..],
                (_, '\\') => match characters.next().context("an escape without a character")?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, other) => value.push(other),
            }
        };
        labels.insert(key.to_owned(), value);
    }
}

fn number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        text => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# HELP agw_requests Requests.
# TYPE agw_requests counter
agw_requests_total{route="a",status="200"} 3
agw_requests_total{route="b",status="200"} 4
agw_connections 7
agw_wait_seconds_sum{name="x, \"}\" y"} 1.5
agw_wait_seconds_bucket{le="0.1",name="x, \"}\" y"} 8
agw_wait_seconds_bucket{le="1.0",name="x, \"}\" y"} 10
agw_wait_seconds_bucket{le="+Inf",name="x, \"}\" y"} 11
# EOF
"#;

    #[test]
    fn counters_are_summed_over_the_labels_that_were_not_named() -> Result<()> {
        let metrics = Metrics::parse(TEXT)?;
        assert_eq!(metrics.value("agw_requests_total", &[("status", "200")]), Some(7.0));
        assert_eq!(metrics.value("agw_requests_total", &[("route", "b")]), Some(4.0));
        assert_eq!(metrics.value("agw_requests_total", &[("route", "c")]), None);
        assert_eq!(metrics.value("agw_connections", &[]), Some(7.0));
        Ok(())
    }

    #[test]
    fn histograms_tell_quantiles_and_tails() -> Result<()> {
        let metrics = Metrics::parse(TEXT)?;
        let wait = metrics.histogram("agw_wait_seconds", &[("name", "x, \"}\" y")]).context("histogram")?;
        assert_eq!(wait.count(), 11.0);
        assert_eq!(wait.quantile(0.5), 0.1);
        assert_eq!(wait.quantile(0.99), f64::INFINITY);
        assert_eq!(wait.above(0.5), 1.0);
        assert_eq!(wait.since(&wait).count(), 0.0);
        Ok(())
    }

    #[test]
    fn a_line_that_is_no_metric_is_named() {
        let error = Metrics::parse("agw_x{a=\"b} 1").expect_err("it has no end");
        assert!(format!("{error:#}").contains("agw_x"), "{error:#}");
    }
}
