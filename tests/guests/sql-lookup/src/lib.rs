//! Looks rows up by their primary key, one after the other, as often as the header `x-lookups` says, or else the
//! plugin's configuration.
//!
//! With `x-answer`, it answers with the nanoseconds that each took, a line each; without, the request goes on. A lookup
//! that fails, or finds another row, is a 500 with the reason.

#![allow(missing_docs, reason = "proxy_wasm::main! exports functions without documentation")]

use std::fmt::Write;
use std::time::{Duration, SystemTime};

use agw_sdk::Error;
use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType};

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root { count: 0 }) });
}}

struct Root {
    count: i64,
}

struct Stream {
    count: i64,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _: usize) -> bool {
        let said = self.get_plugin_configuration().and_then(|bytes| String::from_utf8(bytes).ok());
        self.count = said.and_then(|said| said.trim().parse().ok()).unwrap_or(0);
        true
    }

    fn create_http_context(&self, _: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Stream { count: self.count }))
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }
}

impl Context for Stream {}

impl HttpContext for Stream {
    fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
        let number = |name: &str| self.get_http_request_header(name).and_then(|value| value.parse().ok());
        let count = number("x-lookups").unwrap_or(self.count);
        let (first, rows) = (number("x-first").unwrap_or(0), number("x-rows").unwrap_or(1));
        let body = match lookups(count, first, rows) {
            Ok(body) => body,
            Err(error) => {
                self.send_http_response(500, vec![], Some(error.to_string().as_bytes()));
                return Action::Pause;
            }
        };
        if self.get_http_request_header("x-answer").is_none() {
            return Action::Continue;
        }
        self.send_http_response(200, vec![], Some(body.as_bytes()));
        Action::Pause
    }
}

fn lookups(count: i64, first: i64, rows: i64) -> Result<String, Error> {
    let mut body = String::new();
    let find = agw_sdk::sql("users")?;
    for at in 0..count {
        let id = (first + at) % rows + 1;
        let started = now();
        let (found, _tier): (i64, String) = find.named("find").bind(id).query_one()?;
        let took = now().duration_since(started).unwrap_or(Duration::ZERO);
        if found != id {
            let _ = write!(body, "asked for {id}, got {found}");
            return Ok(body);
        }
        let _ = writeln!(body, "{}", took.as_nanos());
    }
    Ok(body)
}

fn now() -> SystemTime {
    hostcalls::get_current_time().unwrap_or(SystemTime::UNIX_EPOCH)
}
