//! The filter.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel, MapType};

use crate::deeds;

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

#[derive(Default)]
struct Root {
    /// The context of a stream that asked to be remembered.
    remembered: Rc<Cell<u32>>,
    /// Stays in its memory, for a search to find.
    configuration: Vec<u8>,
}

struct Filter {
    id: u32,
    remembered: Rc<Cell<u32>>,
    after_the_end: bool,
}

impl Context for Root {}

impl RootContext for Root {
    fn on_vm_start(&mut self, _size: usize) -> bool {
        self.set_tick_period(Duration::from_millis(50));
        true
    }

    fn on_configure(&mut self, _size: usize) -> bool {
        self.configuration = self.get_plugin_configuration().unwrap_or_default();
        match self.configuration.as_slice() {
            b"panic" => panic!("a mishap in the configuration"),
            b"refuse" => {
                log(LogLevel::Error, "this configuration is not to my liking");
                false
            }
            _ => true,
        }
    }

    /// Acts on the remembered stream, gone or not.
    fn on_tick(&mut self) {
        let id = self.remembered.replace(0);
        if id == 0 {
            return;
        }
        let effective = hostcalls::set_effective_context(id).is_ok();
        let _ = hostcalls::set_map_value(MapType::HttpRequestHeaders, "x-late", Some("1"));
        let _ = hostcalls::send_http_response(418, vec![], Some(b"late"));
        let _ = hostcalls::resume_http_request();
        let _ = hostcalls::reset_http_request();
        log(LogLevel::Warn, if effective { "acted on a living stream" } else { "acted on a dead stream" });
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter { id: context_id, remembered: self.remembered.clone(), after_the_end: false }))
    }
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        match path.rsplit('/').next().unwrap_or_default() {
            "panic" => note(deeds::deep_inside(3)),
            "loop" => note(deeds::turn_for_ever()),
            "memory" => note(deeds::eat_memory()),
            "stack" => note(deeds::fall_down_the_stack(0)),
            "frames" => note(deeds::fill_the_stack(0)),
            "pause" => return Action::Pause,
            "search" => {
                let masked = self.get_http_request_header_bytes("x-masked").unwrap_or_default();
                let digits = masked.chunks(2).filter_map(|pair| std::str::from_utf8(pair).ok());
                let masked: Vec<u8> =
                    digits.filter_map(|digits| u8::from_str_radix(digits, 16).ok()).collect();
                let found = deeds::search(&masked).to_string();
                self.send_http_response(200, vec![], Some(found.as_bytes()));
                return Action::Pause;
            }
            "twice" => {
                self.send_http_response(401, vec![("x-first", "yes")], Some(b"first"));
                self.send_http_response(402, vec![("x-second", "yes")], Some(b"second"));
                return Action::Pause;
            }
            "bad-header" => self.set_http_request_header("x bad", Some("1")),
            "bad-value" => self.set_http_request_header("x-bad", Some("1\r\nx-smuggled: 1")),
            "bad-reply" => self.send_http_response(200, vec![("x-bad", "1\r\nx-smuggled: 1")], None),
            "bad-status" => self.send_http_response(99, vec![], None),
            "framing" => {
                self.set_http_request_header("content-length", Some("7"));
                self.set_http_request_header("transfer-encoding", Some("chunked"));
            }
            "after-the-end" => self.after_the_end = true,
            "remember" => self.remembered.set(self.id),
            _ => {}
        }
        Action::Continue
    }

    fn on_log(&mut self) {
        if self.after_the_end {
            // None of it can have an effect any more; none of it may do harm.
            self.set_http_request_header("x-late", Some("1"));
            self.set_http_response_header("x-late", Some("1"));
            self.send_http_response(418, vec![], Some(b"late"));
            self.resume_http_request();
            self.reset_http_response();
            let _ = hostcalls::get_buffer(BufferType::HttpResponseBody, 0, 1000);
            log(LogLevel::Warn, "acted after the end");
        }
    }
}

impl Context for Filter {}

fn note(value: impl std::fmt::Display) {
    log(LogLevel::Info, &value.to_string());
}

fn log(level: LogLevel, message: &str) {
    let _ = hostcalls::log(level, message);
}
