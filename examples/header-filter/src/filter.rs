//! The filter: applies [`Rules`] to both directions.

use std::rc::Rc;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, ContextType, LogLevel, MapType};

use crate::rules::{Rule, Rules};

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// One per VM.
#[derive(Default)]
struct Root {
    rules: Rc<Rules>,
}

/// One request.
struct Filter {
    rules: Rc<Rules>,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        match Rules::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(rules) => {
                self.rules = Rc::new(rules);
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
        Some(Box::new(Filter { rules: self.rules.clone() }))
    }
}

impl Context for Filter {}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        apply(&self.rules.request, MapType::HttpRequestHeaders);
        Action::Continue
    }

    fn on_http_response_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        apply(&self.rules.response, MapType::HttpResponseHeaders);
        Action::Continue
    }
}

fn apply(rules: &[Rule], map: MapType) {
    for rule in rules {
        let (name, value) = match rule {
            Rule::Set { name, value } => (name, Some(value.as_str())),
            Rule::Remove { name } => (name, None),
        };
        // Any status but Ok ends in a trap within the SDK; there is no other error to see here.
        let _ = hostcalls::set_map_value(map, name, value);
    }
}
