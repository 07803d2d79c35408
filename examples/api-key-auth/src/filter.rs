//! The filter: takes the key, asks whose it is, and tells the upstream.

use std::cell::Cell;
use std::fmt;
use std::rc::Rc;

use agw_sdk::Error;
use agw_sdk::sql::SqlCall;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MetricType};

use crate::config::{Config, OnError};
use crate::user::User;
use crate::{answer, key};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// One per VM.
#[derive(Default)]
struct Root {
    plugin: Option<Rc<Plugin>>,
}

/// What all requests of a VM share.
struct Plugin {
    config: Config,
    accepted: Counter,
    rejected: Counter,
    errors: Counter,
    /// The last lookup failed: it was logged, and need not be again.
    failing: Cell<bool>,
}

/// One request.
struct Auth {
    plugin: Rc<Plugin>,
    /// While the database is asked.
    lookup: Option<SqlCall<Option<User>>>,
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
                    config,
                    accepted: Counter::define("api_key_auth_accepted_total"),
                    rejected: Counter::define("api_key_auth_rejected_total"),
                    errors: Counter::define("api_key_auth_errors_total"),
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
        Some(Box::new(Auth { plugin, lookup: None }))
    }
}

// === impl Auth ===

impl Context for Auth {
    fn on_foreign_function(&mut self, function_id: u32, size: usize) {
        let Some(lookup) = self.lookup.take_if(|lookup| lookup.matches(function_id)) else { return };
        if self.found(lookup.answer(size)) == Action::Continue {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Auth {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let config = &self.plugin.config;
        // Only this filter says who the user is.
        self.set_http_request_header(&config.user_header, None);
        self.set_http_request_header(&config.tier_header, None);
        let key = self.get_http_request_header_bytes(&config.header).filter(|key| !key.is_empty());
        let Some(key) = key else { return self.reject(answer::NO_KEY) };
        match User::find(config, &key::hash(&key)) {
            Ok(lookup) => {
                self.lookup = Some(lookup);
                Action::Pause
            }
            Err(error) => self.unknowable(&error),
        }
    }
}

impl Auth {
    /// The database has answered.
    fn found(&self, answer: Result<Option<User>, Error>) -> Action {
        match answer {
            Ok(None) => {
                self.plugin.failing.set(false);
                self.reject(answer::UNKNOWN_KEY)
            }
            Ok(Some(user)) if user.fits_headers() => {
                self.plugin.failing.set(false);
                self.accept(&user)
            }
            Ok(Some(_)) => self.unknowable(&"a user's id or tier is nothing that a header can say"),
            Err(error) => self.unknowable(&error),
        }
    }

    fn accept(&self, user: &User) -> Action {
        let config = &self.plugin.config;
        self.plugin.accepted.add_one();
        self.set_http_request_header(&config.user_header, Some(&user.id));
        self.set_http_request_header(&config.tier_header, user.tier.as_deref());
        Action::Continue
    }

    fn reject(&self, body: &str) -> Action {
        self.plugin.rejected.add_one();
        self.answer(401, Some(("www-authenticate", answer::CHALLENGE)), body)
    }

    /// Nobody knows whose key it is. The log never has the key, nor its hash.
    fn unknowable(&self, reason: &dyn fmt::Display) -> Action {
        self.plugin.errors.add_one();
        if !self.plugin.failing.replace(true) {
            log::warn!("API keys cannot be looked up: {reason}");
        }
        match self.plugin.config.on_error {
            OnError::Open => Action::Continue,
            OnError::Closed => self.answer(503, None, answer::UNAVAILABLE),
        }
    }

    fn answer(&self, status: u32, header: Option<(&str, &str)>, body: &str) -> Action {
        let mut headers = vec![("content-type", "application/problem+json")];
        headers.extend(header);
        self.send_http_response(status, headers, Some(body.as_bytes()));
        Action::Pause
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
