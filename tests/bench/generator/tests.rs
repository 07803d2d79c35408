use agw_tests::{Script, Upstream};

use super::*;

fn plan(address: std::net::SocketAddr, rate: Option<f64>) -> Plan {
    Plan {
        address,
        path: "/".to_owned(),
        connections: 4,
        keys: 10,
        warmup: Duration::from_millis(20),
        duration: Duration::from_millis(200),
        rate,
    }
}

fn load(plan: &Plan) -> Result<Report> {
    let mut output = Vec::new();
    run(plan, &mut output)?;
    let text = String::from_utf8(output)?;
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[..2], [OPEN, CLOSED]);
    Ok(serde_json::from_str(lines[2])?)
}

#[test]
fn a_closed_loop_sends_every_key_and_counts_every_answer() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("hello\n"))?;
    let report = load(&plan(upstream.address(), None))?;
    assert_eq!(report.failures, Failures::default());
    assert!(report.requests > 0 && report.all_requests >= report.requests, "{report:?}");
    let recorded = upstream.recorded();
    let keys: std::collections::BTreeSet<_> =
        recorded.iter().map(|request| request.headers["x-api-key"].to_str().unwrap().to_owned()).collect();
    assert_eq!(keys.len(), 10);
    Ok(())
}

#[test]
fn a_paced_load_sends_no_more_than_is_due() -> Result<()> {
    let upstream = Upstream::start(|_| Script::ok("hello\n"))?;
    let report = load(&plan(upstream.address(), Some(200.0)))?;
    assert_eq!(report.failures, Failures::default());
    // 44 ticks in 220 ms, and a few more if the end came late.
    assert!((1..=100).contains(&report.all_requests), "{report:?}");
    Ok(())
}

#[test]
fn an_answer_that_is_not_2xx_is_a_failure() -> Result<()> {
    let upstream = Upstream::start(|_| Script::status(http::StatusCode::TOO_MANY_REQUESTS, "no"))?;
    let report = load(&plan(upstream.address(), None))?;
    assert_eq!(report.failures.statuses, report.all_requests);
    assert_eq!(report.failures.first.as_deref(), Some("status 429"));
    Ok(())
}

#[test]
fn a_server_that_does_not_answer_is_a_failure() -> Result<()> {
    let upstream = Upstream::start(|request| match request.headers["x-api-key"].to_str() {
        Ok("k3") => Script::never(),
        _ => Script::ok("hello\n"),
    })?;
    let mut plan = plan(upstream.address(), None);
    plan.connections = 1;
    let report = load(&plan)?;
    assert_eq!(report.failures.timeouts, 1);
    assert_eq!(report.failures.first.as_deref(), Some("no answer in 2s"));
    Ok(())
}

#[test]
fn connections_that_break_are_failures() -> Result<()> {
    let upstream = Upstream::start(|_| {
        Script::chunks([(Duration::ZERO, bytes::Bytes::from_static(b"x"))]).closing_early()
    })?;
    let error = run(&plan(upstream.address(), None), &mut Vec::new()).expect_err("every answer is chunked");
    assert!(format!("{error:#}").contains("4 broken connections"), "{error:#}");
    Ok(())
}

#[test]
fn nobody_to_ask_is_said_with_the_address() {
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let error = run(&plan(address, None), &mut Vec::new()).expect_err("nothing listens there");
    assert!(format!("{error:#}").contains("127.0.0.1:1"), "{error:#}");
}
