//! `agw resource test`: what the gateway would meet at a resource, shown to an operator.

use std::io::{self, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use agw_config::Snapshot;
use agw_foreign::{PeerTls, ProbeError, ProbeReport};
use agw_proxy::certificate_facts;
use anyhow::{Context, Result};
use serde_json::{Value, json};

/// What is said in lists, and above them.
const LISTS: [(&str, List); 5] = [
    ("The server refuses:", |report| &report.refused),
    ("The grants need, and the user may not:", |report| &report.missing),
    ("The user may, and no grant needs it:", |report| &report.excess),
    ("A user with what the grants need, and no more:", |report| &report.least),
    ("Note:", |report| &report.notes),
];

type List = fn(&ProbeReport) -> &Vec<String>;

/// What came of a resource's hosts, one or more.
pub(crate) struct Tested {
    name: String,
    kind: &'static str,
    hosts: Vec<(String, Result<ProbeReport, ProbeError>)>,
}

/// Asks every host of a resource. `None` if there is no such resource.
///
/// # Errors
/// A runtime that cannot be started.
pub(crate) fn test(snapshot: &Snapshot, name: &str) -> Result<Option<Tested>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("start the runtime")?;
    let tested = |kind, hosts| Some(Tested { name: name.to_owned(), kind, hosts });
    if let Some(resource) = snapshot.resources.get(name) {
        let hosts = runtime.block_on(agw_foreign_redis::probe(resource));
        return Ok(tested("redis", hosts));
    }
    let Some(resource) = snapshot.sql_resources.get(name) else { return Ok(None) };
    let hosts = runtime.block_on(agw_foreign_sql::probe(resource));
    Ok(tested(crate::resources::sql_kind(&resource.endpoint), hosts))
}

impl Tested {
    /// Every host can be reached, takes every named statement and allows what the grants do.
    pub(crate) fn is_fine(&self) -> bool {
        let fine = |report: &ProbeReport| report.refused.is_empty() && report.missing.is_empty();
        self.hosts.iter().all(|(_, report)| report.as_ref().is_ok_and(fine))
    }

    pub(crate) fn json(&self) -> Value {
        let host = |(host, report): &(String, Result<ProbeReport, ProbeError>)| match report {
            Ok(report) => shown(host, report),
            Err(error) => json!({ "host": host, "error": told(error) }),
        };
        json!({
            "name": self.name,
            "type": self.kind,
            "fine": self.is_fine(),
            "hosts": self.hosts.iter().map(host).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn print(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut before = Vec::new();
        for (host, report) in &self.hosts {
            writeln!(out, "{} ({}) at {host}", self.name, self.kind)?;
            match report {
                Ok(report) => {
                    print(report, &before, out)?;
                    before.push((host.as_str(), report));
                }
                Err(error) => writeln!(out, "  error    {}\n", told(error))?,
            }
        }
        Ok(())
    }
}

/// `before` are the hosts that were printed already: what holds of one of them as well is not printed again.
fn print(report: &ProbeReport, before: &[(&str, &ProbeReport)], out: &mut dyn Write) -> io::Result<()> {
    let latency = report.latency;
    writeln!(out, "  server   {}, {}", report.server, report.role)?;
    writeln!(out, "  user     {}", report.user)?;
    writeln!(
        out,
        "  latency  connect {}, first call {}, median of {} more {}",
        ms(latency.connect),
        ms(latency.first_call),
        agw_foreign::PROBE_CALLS,
        ms(latency.median)
    )?;
    match &report.tls {
        None => writeln!(out, "  tls      none")?,
        Some(tls) => {
            writeln!(out, "  tls      {}", tls.version)?;
            for certificate in chain(tls) {
                writeln!(out, "           {}, {}", certificate.subject, certificate.end())?;
            }
        }
    }
    for (title, of) in LISTS {
        let lines = of(report);
        let same = before.iter().find(|(_, other)| of(other) == lines);
        match same {
            _ if lines.is_empty() => {}
            Some((host, _)) => writeln!(out, "\n  {title} as at {host}")?,
            None => {
                writeln!(out, "\n  {title}")?;
                lines.iter().try_for_each(|line| writeln!(out, "    {line}"))?;
            }
        }
    }
    writeln!(out)
}

fn shown(host: &str, report: &ProbeReport) -> Value {
    let latency = report.latency;
    let tls = report.tls.as_ref().map(|tls| {
        let certificate = |one: Certificate| {
            json!({ "subject": one.subject, "last_day": one.last_day, "days_left": one.days_left })
        };
        json!({ "version": tls.version, "chain": chain(tls).into_iter().map(certificate).collect::<Vec<_>>() })
    });
    json!({
        "host": host,
        "server": report.server,
        "role": report.role,
        "user": report.user,
        "latency_seconds": {
            "connect": latency.connect.as_secs_f64(),
            "first_call": latency.first_call.as_secs_f64(),
            "median": latency.median.as_secs_f64(),
        },
        "tls": tls,
        "refused": report.refused,
        "missing": report.missing,
        "excess": report.excess,
        "least": report.least,
        "notes": report.notes,
    })
}

/// The error and its causes. They come from a driver or the system, and hold no credential.
fn told(error: &ProbeError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

struct Certificate {
    subject: String,
    last_day: String,
    days_left: i64,
}

impl Certificate {
    fn end(&self) -> String {
        let Certificate { last_day, days_left, .. } = self;
        if *days_left < 0 {
            format!("ended on {last_day}")
        } else {
            format!("ends on {last_day}, in {days_left} days")
        }
    }
}

fn chain(tls: &PeerTls) -> Vec<Certificate> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    let certificate = |der: &Vec<u8>| {
        let facts = certificate_facts(der)?;
        let days_left = (facts.not_after - now).div_euclid(86_400);
        Some(Certificate { subject: facts.subject, last_day: facts.last_day, days_left })
    };
    tls.chain.iter().filter_map(certificate).collect()
}

fn ms(duration: Duration) -> String {
    format!("{:.2} ms", duration.as_secs_f64() * 1000.0)
}

#[cfg(test)]
mod tests {
    use agw_foreign::Latency;

    use super::*;

    fn report() -> ProbeReport {
        ProbeReport {
            server: "Redis 7".to_owned(),
            role: "primary".to_owned(),
            user: "agw".to_owned(),
            latency: Latency::new(Duration::from_millis(2), vec![Duration::from_micros(500)]),
            tls: None,
            refused: Vec::new(),
            excess: vec!["keys ~*".to_owned()],
            missing: Vec::new(),
            least: vec!["ACL SETUSER agw".to_owned()],
            notes: Vec::new(),
        }
    }

    fn tested(hosts: Vec<(String, Result<ProbeReport, ProbeError>)>) -> Tested {
        Tested { name: "limits".to_owned(), kind: "redis", hosts }
    }

    #[test]
    fn a_host_that_refuses_or_is_away_is_not_fine_and_more_rights_are() {
        assert!(tested(vec![("a".to_owned(), Ok(report()))]).is_fine());
        let refused = ProbeReport { refused: vec!["statements.x: no".to_owned()], ..report() };
        let missing = ProbeReport { missing: vec!["commands: get".to_owned()], ..report() };
        let away = Err(ProbeError::new("no connection", "it is away"));
        for bad in [Ok(refused), Ok(missing), away] {
            assert!(!tested(vec![("a".to_owned(), Ok(report())), ("b".to_owned(), bad)]).is_fine());
        }
    }

    #[test]
    fn what_holds_of_another_host_as_well_is_printed_once() {
        let other = ProbeReport { excess: vec!["keys ~x".to_owned()], ..report() };
        let hosts = [("h:1", report()), ("h:2", other), ("h:3", report())];
        let mut out = Vec::new();
        let hosts = hosts.map(|(host, report)| (host.to_owned(), Ok(report)));
        tested(hosts.into()).print(&mut out).expect("it is printed");
        let out = String::from_utf8(out).expect("text");
        assert_eq!(out.matches("    keys ~*\n").count(), 1, "{out}");
        assert_eq!(out.matches("The user may, and no grant needs it: as at h:1\n").count(), 1, "{out}");
        assert_eq!(out.matches("    keys ~x\n").count(), 1, "{out}");
        assert_eq!(out.matches("no more: as at h:1\n").count(), 2, "{out}");
    }

    #[test]
    fn what_is_printed_has_a_line_for_each_thing() {
        let mut out = Vec::new();
        let away = Err(ProbeError::new("no connection", "it is away"));
        let tested = tested(vec![("h:1".to_owned(), Ok(report())), ("h:2".to_owned(), away)]);
        tested.print(&mut out).expect("it is printed");
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "limits (redis) at h:1\n  server   Redis 7, primary\n  user     agw\n  latency  connect 2.00 ms, first call \
             0.50 ms, median of 20 more 0.50 ms\n  tls      none\n\n  The user may, and no grant needs it:\n    keys ~*\n\n  \
             A user with what the grants need, and no more:\n    ACL SETUSER agw\n\nlimits (redis) at h:2\n  error    \
             no connection: it is away\n\n"
        );
        assert_eq!(tested.json()["hosts"][1]["error"], "no connection: it is away");
        assert_eq!(tested.json()["hosts"][0]["latency_seconds"]["connect"], 0.002);
    }
}
