//! The filter: looks sessions up on the way in, and starts them on the way out.

use std::cell::Cell;
use std::rc::Rc;

use agw_sdk::Error;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::config::{Config, OnError, Source};
use crate::{cookie, store};

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
struct Session {
    config: Rc<Config>,
    failing: Rc<Cell<bool>>,
    /// The filter answered by itself; the response is not the upstream's.
    answered: bool,
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
        Some(Box::new(Session { config, failing: self.failing.clone(), answered: false }))
    }
}

// === impl Session ===

impl Context for Session {}

impl HttpContext for Session {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        // Only this filter says who the user is.
        self.set_http_request_header(&self.config.user_header, None);
        let Some(id) = self.client_id() else { return Action::Continue };
        let found = self.find(&id);
        let failed_before = self.failing.replace(found.is_err());
        match found {
            Ok(Some(user)) if is_header_value(&user) => {
                self.set_http_request_header_bytes(&self.config.user_header, Some(&user));
                Action::Continue
            }
            Ok(_) => Action::Continue,
            Err(error) => self.without_redis(&error, failed_before),
        }
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let Some(user) = self.get_http_response_header_bytes(&self.config.start_header) else {
            return Action::Continue;
        };
        self.set_http_response_header(&self.config.start_header, None);
        if self.answered || user.is_empty() {
            return Action::Continue;
        }
        match self.start(&user) {
            Some(id) => {
                self.tell(&id);
                Action::Continue
            }
            // The upstream believes that the user is logged in; the client must not.
            None => self.unavailable(),
        }
    }
}

impl Session {
    /// The session id that the client sent, if it can be one.
    fn client_id(&self) -> Option<Vec<u8>> {
        let id = match &self.config.source {
            Source::Header(name) => self.get_http_request_header_bytes(name)?,
            Source::Cookie(name) => {
                cookie::find(&self.get_http_request_header_bytes("cookie")?, name)?.to_vec()
            }
        };
        cookie::is_id(&id).then_some(id)
    }

    fn find(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Error> {
        store::find(&agw_sdk::redis(&self.config.resource)?, id, self.config.ttl)
    }

    /// A new session's id; `None` if it could not be stored.
    fn start(&self, user: &[u8]) -> Option<String> {
        let id = cookie::new_id()?;
        let redis = agw_sdk::redis(&self.config.resource);
        match redis.and_then(|redis| store::create(&redis, id.as_bytes(), user, self.config.ttl)) {
            Ok(true) => Some(id),
            Ok(false) => None,
            Err(error) => {
                log::warn!("a session could not be stored: {error}");
                None
            }
        }
    }

    fn tell(&self, id: &str) {
        match &self.config.source {
            Source::Cookie(name) => {
                self.add_http_response_header("set-cookie", &cookie::set(name, id, self.config.ttl));
            }
            Source::Header(name) => self.set_http_response_header(name, Some(id)),
        }
    }

    fn without_redis(&mut self, error: &Error, failed_before: bool) -> Action {
        if !failed_before {
            log::warn!("sessions cannot be looked up: {error}");
        }
        match self.config.on_error {
            OnError::Open => Action::Continue,
            OnError::Closed => self.unavailable(),
        }
    }

    fn unavailable(&mut self) -> Action {
        self.answered = true;
        let headers = vec![("content-type", "text/plain")];
        self.send_http_response(503, headers, Some(b"sessions are unavailable\n"));
        Action::Pause
    }
}

/// What stands in Redis may have been put there by others.
fn is_header_value(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
}
