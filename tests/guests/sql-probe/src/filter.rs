//! The filter.

use std::rc::Rc;
use std::time::{Duration, Instant};

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel};

use crate::ask::Ask;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Default)]
struct Root {
    resource: Rc<str>,
}

struct Filter {
    resource: Rc<str>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let resource = String::from_utf8(self.get_plugin_configuration().unwrap_or_default());
        self.resource = resource.unwrap_or_default().into();
        !self.resource.is_empty()
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter { resource: self.resource.clone() }))
    }
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let header = |name: &str| self.get_http_request_header(name);
        let Some(ask) = Ask::parse(&header(":path").unwrap_or_default(), header) else {
            self.send_http_response(400, vec![], None);
            return Action::Pause;
        };
        let deadline = header("x-deadline").and_then(|ms| ms.parse().ok()).map(Duration::from_millis);
        let begun = Instant::now();
        let outcome = ask.run(&self.resource, deadline);
        let took = begun.elapsed().as_micros().to_string();
        match outcome {
            Ok(value) => self.send_http_response(200, vec![("x-call-us", &took)], Some(&value)),
            Err(error) => {
                let headers = vec![("x-call-us", took.as_str()), ("x-sql-code", error.as_str())];
                self.send_http_response(503, headers, Some(error.to_string().as_bytes()));
            }
        }
        Action::Pause
    }
}
