//! The filter: asks for the tier and says it in a header, by which the gateway chooses the route anew.

use std::cell::Cell;
use std::rc::Rc;

use agw_sdk::Error;
use agw_sdk::sql::SqlCall;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::config::{Config, OnError};
use crate::tier::{self, Answer};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// One per VM.
#[derive(Default)]
struct Root {
    config: Option<Rc<Config>>,
    /// The last lookup failed: it was logged, and need not be again.
    failing: Rc<Cell<bool>>,
}

/// One request.
struct Routing {
    config: Rc<Config>,
    failing: Rc<Cell<bool>>,
    /// While the database is asked.
    lookup: Option<SqlCall<Answer>>,
}

// === impl Root ===

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => {
                self.config = Some(Rc::new(config));
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
        let config = self.config.clone()?;
        Some(Box::new(Routing { config, failing: self.failing.clone(), lookup: None }))
    }
}

// === impl Routing ===

impl Context for Routing {
    fn on_foreign_function(&mut self, function_id: u32, size: usize) {
        let Some(lookup) = self.lookup.take_if(|lookup| lookup.matches(function_id)) else { return };
        let action = match lookup.answer(size) {
            Ok(answer) => {
                self.failing.set(false);
                self.route(&tier::of(answer, &self.config.default_tier))
            }
            Err(error) => self.unknowable(&error),
        };
        if action == Action::Continue {
            self.resume_http_request();
        }
    }
}

impl HttpContext for Routing {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        // Only this filter says what the tier is.
        self.set_http_request_header(&self.config.tier_header, None);
        let user = self.get_http_request_header(&self.config.user_header).filter(|user| !user.is_empty());
        let Some(user) = user else { return self.route(&self.config.default_tier) };
        match tier::find(&self.config, &user) {
            Ok(lookup) => {
                self.lookup = Some(lookup);
                Action::Pause
            }
            Err(error) => self.unknowable(&error),
        }
    }
}

impl Routing {
    fn route(&self, tier: &str) -> Action {
        self.set_http_request_header(&self.config.tier_header, Some(tier));
        Action::Continue
    }

    fn unknowable(&self, error: &Error) -> Action {
        if !self.failing.replace(true) {
            log::warn!("tiers cannot be looked up: {error}");
        }
        match self.config.on_error {
            OnError::Default => self.route(&self.config.default_tier),
            OnError::Closed => {
                let headers = vec![("content-type", "text/plain")];
                self.send_http_response(503, headers, Some(b"tiers are unavailable\n"));
                Action::Pause
            }
        }
    }
}
