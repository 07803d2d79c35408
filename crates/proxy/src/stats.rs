//! Metrics of one route on one worker: handles are looked up once, not per request.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use agw_telemetry::{Counter, Histogram, Metrics, RequestLabels, RouteLabels};
use http::Method;

/// Stands for every method that is not registered.
pub(crate) const OTHER: &str = "OTHER";

/// Counts and times of one route.
pub(crate) struct RouteStats {
    metrics: Arc<Metrics>,
    route: String,
    /// Few in practice: the methods and codes that this route has seen, in order of appearance.
    counters: RefCell<Vec<Counted>>,
    request_seconds: Histogram,
    upstream_seconds: Histogram,
}

struct Counted {
    method: &'static str,
    code: u16,
    counter: Counter,
}

impl RouteStats {
    /// For the route of that name; `none` stands for requests without route.
    pub(crate) fn new(metrics: &Arc<Metrics>, route: &str) -> Self {
        let labels = RouteLabels { route: route.to_owned() };
        RouteStats {
            request_seconds: metrics.request_seconds.get_or_create(&labels).clone(),
            upstream_seconds: metrics.upstream_seconds.get_or_create(&labels).clone(),
            counters: RefCell::new(Vec::new()),
            route: labels.route,
            metrics: Arc::clone(metrics),
        }
    }

    /// One exchange has ended.
    pub(crate) fn ended(&self, method: &Method, code: u16, duration: Duration) {
        self.request_seconds.observe(duration.as_secs_f64());
        let method = label(method);
        let mut counters = self.counters.borrow_mut();
        if let Some(found) = counters.iter().find(|known| known.code == code && known.method == method) {
            found.counter.inc();
            return;
        }
        let labels = RequestLabels { route: self.route.clone(), method: method.to_owned(), code };
        let counter = self.metrics.requests.get_or_create(&labels).clone();
        counter.inc();
        counters.push(Counted { method, code, counter });
    }

    /// The upstream's head has come, so long after the request was dispatched.
    pub(crate) fn upstream_answered(&self, after: Duration) {
        self.upstream_seconds.observe(after.as_secs_f64());
    }
}

/// A method's label: clients can invent methods, and must not invent time series with them.
pub(crate) fn label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        Method::PATCH => "PATCH",
        Method::OPTIONS => "OPTIONS",
        Method::TRACE => "TRACE",
        Method::CONNECT => "CONNECT",
        _ => OTHER,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn invented_methods_share_one_series() {
        let metrics = Arc::new(Metrics::new());
        let stats = RouteStats::new(&metrics, "r");
        for name in ["BREW", "WHEN", "GET"] {
            stats.ended(&Method::from_bytes(name.as_bytes()).unwrap(), 200, Duration::from_millis(1));
        }
        let text = metrics.encode().unwrap();
        assert!(text.contains(r#"agw_http_requests_total{route="r",method="OTHER",code="200"} 2"#), "{text}");
        assert!(text.contains(r#"agw_http_requests_total{route="r",method="GET",code="200"} 1"#), "{text}");
        assert!(text.contains(r#"agw_http_request_duration_seconds_count{route="r"} 3"#), "{text}");
    }
}
