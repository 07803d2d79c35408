//! The filter itself: it asks [`window`] and tells the client by [`answer`].

use std::cell::Cell;
use std::rc::Rc;

use agw_sdk::{CallId, Error};
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

use crate::answer;
use crate::config::{Config, OnError};
use crate::key::{self, Request};
use crate::window::{Count, Standing, not_mended};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// One per VM: configuration and counters.
#[derive(Default)]
pub(crate) struct Root {
    plugin: Option<Rc<Plugin>>,
}

/// What all requests of a VM share.
struct Plugin {
    config: Config,
    /// See [`key::prefix`].
    key_prefix: Vec<u8>,
    /// See [`answer::policy`].
    policy: String,
    allowed: Counter,
    limited: Counter,
    errors: Counter,
    /// The last call failed: it was logged, and need not be again.
    failing: Cell<bool>,
}

/// One request.
struct Limiter {
    plugin: Rc<Plugin>,
    /// While Redis is asked.
    count: Option<Count>,
    /// While a counter gets its expiry.
    mending: Option<(CallId, Standing)>,
    /// Known for requests that pass; their response says it.
    standing: Option<Standing>,
}

/// A counter of the host; `None` if the host has none.
struct Counter(Option<u32>);

// === impl Root ===

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                self.plugin = Some(Rc::new(Plugin {
                    key_prefix: key::prefix(&config),
                    policy: answer::policy(&config),
                    config,
                    allowed: Counter::define("rate_limit_allowed_total"),
                    limited: Counter::define("rate_limit_limited_total"),
                    errors: Counter::define("rate_limit_errors_total"),
                    failing: Cell::new(false),
                }));
                true
            }
            Err(problem) => {
                log::error!("{problem}");
                false
            }
        }
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let plugin = self.plugin.clone()?;
        Some(Box::new(Limiter { plugin, count: None, mending: None, standing: None }))
    }
}

// === impl Limiter ===

impl Context for Limiter {
    fn on_foreign_function(&mut self, function_id: u32, size: usize) {
        let action = if let Some(count) = self.count.take_if(|count| count.matches(function_id)) {
            self.counted(count, size)
        } else if let Some((call, standing)) = self.mending.take_if(|(call, _)| call.matches(function_id)) {
            if let Err(error) = agw_sdk::answer::<(bool,)>(call, size) {
                not_mended(&error);
            }
            self.decide(standing)
        } else {
            return;
        };
        if action == Action::Continue {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Limiter {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let key = key::key(&self.plugin.key_prefix, &self.plugin.config.key, self);
        match Count::start(&self.plugin.config, key) {
            Ok(count) => {
                self.count = Some(count);
                Action::Pause
            }
            Err(error) => self.uncounted(&error),
        }
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        if let Some(standing) = self.standing {
            let limit = answer::limit(&self.plugin.config, standing);
            self.add_http_response_header("ratelimit-policy", &self.plugin.policy);
            self.add_http_response_header_bytes("ratelimit", &limit);
        }
        Action::Continue
    }
}

impl Limiter {
    /// Redis has answered.
    fn counted(&mut self, count: Count, size: usize) -> Action {
        match count.finish(&self.plugin.config, size) {
            Ok((standing, mending)) => {
                self.plugin.failing.set(false);
                match mending {
                    None => self.decide(standing),
                    Some(call) => {
                        self.mending = Some((call, standing));
                        Action::Pause
                    }
                }
            }
            Err(error) => self.uncounted(&error),
        }
    }

    fn decide(&mut self, standing: Standing) -> Action {
        let config = &self.plugin.config;
        if !standing.is_over(config) {
            self.plugin.allowed.add_one();
        } else {
            self.plugin.limited.add_one();
            if !config.shadow {
                self.reject(standing);
                return Action::Pause;
            }
            log::info!("policy {}: over the limit, and passes because of shadow mode", config.name);
        }
        self.standing = Some(standing);
        Action::Continue
    }

    fn reject(&self, standing: Standing) {
        let config = &self.plugin.config;
        let limit = answer::limit(config, standing);
        let retry_after = standing.reset_seconds().to_string();
        let headers = vec![
            ("content-type", "application/problem+json"),
            ("ratelimit-policy", &self.plugin.policy),
            // Digits, and a name that the configuration has checked.
            ("ratelimit", std::str::from_utf8(&limit).unwrap_or_default()),
            ("retry-after", &retry_after),
        ];
        self.send_http_response(429, headers, Some(answer::quota_exceeded(config).as_bytes()));
    }

    /// The request could not be counted.
    fn uncounted(&self, error: &Error) -> Action {
        let config = &self.plugin.config;
        self.plugin.errors.add_one();
        if !self.plugin.failing.replace(true) {
            log::warn!("policy {}: requests are not counted: {error}", config.name);
        }
        if config.on_error == OnError::Open || config.shadow {
            return Action::Continue;
        }
        let headers = vec![("content-type", "application/problem+json")];
        self.send_http_response(503, headers, Some(answer::REDUCED_CAPACITY.as_bytes()));
        Action::Pause
    }
}

impl Request for Limiter {
    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.get_http_request_header_bytes(name)
    }

    fn address(&self) -> Option<Vec<u8>> {
        self.get_property(vec!["source", "address"])
    }
}

// === impl Counter ===

impl Counter {
    fn define(name: &str) -> Counter {
        Counter(hostcalls::define_metric(MetricType::Counter, name).ok())
    }

    fn add_one(&self) {
        if let Some(id) = self.0 {
            // A metric is not worth a request.
            let _ = hostcalls::increment_metric(id, 1);
        }
    }
}
