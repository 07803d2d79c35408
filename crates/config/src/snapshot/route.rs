//! What happens to requests.

use std::time::Duration;

use super::RouteMatch;
use crate::schema::route as bounds;

/// What happens to requests that match.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Unique.
    pub name: String,
    /// Which requests these are.
    pub matching: RouteMatch,
    /// What answers them. Plugins run before, whatever it is.
    pub action: RouteAction,
    /// Names of plugins in the same snapshot, in the order in which they see the request.
    pub plugins: Vec<String>,
    /// From the request's head to the last byte of the response; 504 before the response has begun. For an upgraded
    /// connection it ends with the upgrade.
    pub timeout: Duration,
    /// No byte of a body, or of an upgraded connection, in either direction for this long ends the exchange.
    pub idle_timeout: Duration,
    /// Bytes of a request body; more is a 413.
    pub request_body_bytes_max: u64,
    /// Bytes of a body that one plugin may hold back while it pauses; more is a 413 (request) or 500 (response).
    pub buffer_bytes_max: usize,
}

impl Route {
    /// Without plugins, and with the defaults of a document.
    pub fn new(name: &str, matching: RouteMatch, action: RouteAction) -> Self {
        Route {
            name: name.to_owned(),
            matching,
            action,
            plugins: Vec::new(),
            timeout: bounds::TIMEOUT.default_duration(),
            idle_timeout: bounds::IDLE_TIMEOUT.default_duration(),
            request_body_bytes_max: bounds::REQUEST_BODY.default,
            buffer_bytes_max: bounds::BUFFER.default_usize(),
        }
    }
}

/// What answers.
#[derive(Clone, Debug, PartialEq)]
pub enum RouteAction {
    /// An upstream.
    Forward(Forward),
    /// The gateway, with another address.
    Redirect(Redirect),
    /// The gateway, with fixed words.
    Respond(DirectResponse),
}

/// To an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct Forward {
    /// Not empty; the sum of weights is at least 1.
    pub clusters: Vec<WeightedCluster>,
    /// What the upstream sees as path.
    pub path: Option<PathRewrite>,
    /// What the upstream sees as host; `None` keeps the client's.
    pub host: Option<HostRewrite>,
    /// When and how often a failed request is tried again.
    pub retry: Option<RetryPolicy>,
    /// What requests are spread by, for clusters with a consistent hash.
    pub hash: Option<HashKey>,
    /// Lower-case protocols that a client may upgrade to, such as `websocket`; others are served without upgrade.
    pub upgrades: Vec<String>,
}

impl Forward {
    /// All requests to one cluster, as they are.
    pub fn to(cluster: &str) -> RouteAction {
        RouteAction::Forward(Forward {
            clusters: vec![WeightedCluster { cluster: cluster.to_owned(), weight: 1 }],
            path: None,
            host: None,
            retry: None,
            hash: None,
            upgrades: Vec::new(),
        })
    }
}

/// A share of a route's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WeightedCluster {
    /// Name of a cluster in the same snapshot.
    pub cluster: String,
    /// Its share is this over the sum of all; 0 gets nothing.
    pub weight: u32,
}

/// Another path. The query stays.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PathRewrite {
    /// In place of the whole path.
    Full(String),
    /// In place of the prefix that the route matched; only where that is a prefix.
    Prefix(String),
    /// Each match of the pattern, with `$1` or `${name}` for its groups. It compiles.
    Regex {
        /// For [`search_pattern`](crate::search_pattern): not anchored.
        pattern: String,
        /// What stands there afterwards.
        substitution: String,
    },
}

/// Another host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostRewrite {
    /// This one.
    Literal(String),
    /// Name and port of the endpoint, as the configuration has them.
    Endpoint,
}

/// When and how often a failed request is tried again, always on another endpoint if there is one.
///
/// What was never sent is tried again in any case; what was sent only if the method is safe or `unsafe_methods` is
/// on, and if its body is empty or still at hand.
#[derive(Clone, Debug, PartialEq)]
pub struct RetryPolicy {
    /// Tries after the first.
    pub retries: u32,
    /// The connection broke before a response's head.
    pub on_reset: bool,
    /// `per_try_timeout` has passed.
    pub on_timeout: bool,
    /// These statuses, in rising order.
    pub on_statuses: Vec<u16>,
    /// For one try, up to the response's head; `None` leaves it to the route's.
    pub per_try_timeout: Option<Duration>,
    /// Mean of the first wait; it doubles with each try. Each wait is a random share of it.
    pub backoff: Duration,
    /// The doubling ends here.
    pub backoff_max: Duration,
    /// Also methods other than GET, HEAD, OPTIONS, TRACE, PUT and DELETE.
    pub unsafe_methods: bool,
    /// Bytes of a request body kept for another try; a longer one is tried once.
    pub body_bytes_max: usize,
}

/// What requests are spread by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HashKey {
    /// The client's address.
    ClientAddress,
    /// A header, by lower-case name; a request without it goes anywhere.
    Header(String),
    /// A cookie; a request without it goes anywhere.
    Cookie(String),
    /// A query parameter; a request without it goes anywhere.
    Query(String),
    /// The path.
    Path,
}

/// Another address for the client. What is `None` stays as in the request.
#[derive(Clone, Debug, PartialEq)]
pub struct Redirect {
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// `http` or `https`.
    pub scheme: Option<String>,
    /// Without port.
    pub host: Option<String>,
    /// 0 never stands here.
    pub port: Option<u16>,
    /// As for an upstream.
    pub path: Option<PathRewrite>,
    /// Whether the query is dropped.
    pub strip_query: bool,
}

/// Fixed words.
#[derive(Clone, Debug, PartialEq)]
pub struct DirectResponse {
    /// 200 to 599.
    pub status: u16,
    /// Names and values that are valid, none of which concerns framing.
    pub headers: Vec<(String, String)>,
    /// At most 64 KiB.
    pub body: String,
}
