//! The filter: it makes a scenario's calls and shows what they came to.

use proxy_wasm::hostcalls;
use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{Action, BufferType, ContextType, LogLevel};

use crate::request;
use crate::response::{Answer, read};
use crate::scenario::{Call, Scenario};
use crate::sql;

proxy_wasm::main! {{
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root) });
}}

struct Root;

impl Context for Root {
    /// What a stream asked for in its last moment is answered to the root context.
    fn on_foreign_function(&mut self, _function_id: u32, arguments_size: usize) {
        let bytes = hostcalls::get_buffer(BufferType::CallData, 0, arguments_size);
        log(&format!("the root context got {}", read(&bytes.ok().flatten().unwrap_or_default())));
    }
}

impl RootContext for Root {
    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        Some(Box::new(Filter::default()))
    }
}

/// One request.
#[derive(Default)]
struct Filter {
    scenario: Option<Scenario>,
    /// A line for each call; empty until its answer is there.
    lines: Vec<String>,
    /// Calls under way: id, and line.
    pending: Vec<(u32, usize)>,
    /// How often `on_foreign_function` was called.
    callbacks: usize,
    fenced: bool,
    /// Cursors whose next page is to be asked for.
    cursors: Vec<u32>,
}

impl HttpContext for Filter {
    fn on_http_request_headers(&mut self, _headers: usize, _end_of_stream: bool) -> Action {
        let path = self.get_http_request_header(":path").unwrap_or_default();
        let scenario = Scenario::parse(&path);
        let calls = scenario.as_ref().and_then(Scenario::calls);
        let Some(calls) = calls else {
            // Whatever is no scenario goes on.
            return Action::Continue;
        };
        self.scenario = scenario;
        for call in calls {
            self.call(&call);
        }
        if self.is("cancel") {
            self.cancel_the_first();
        }
        if self.pending.is_empty() { self.finish() } else { Action::Pause }
    }

    fn on_log(&mut self) {
        if let Some(call) = self.scenario.as_ref().and_then(Scenario::at_the_end) {
            self.call(&call);
            log(&format!("the stream's last call: {}", self.lines.concat()));
        }
    }
}

impl Context for Filter {
    fn on_foreign_function(&mut self, function_id: u32, arguments_size: usize) {
        self.callbacks += 1;
        let bytes = hostcalls::get_buffer(BufferType::CallData, 0, arguments_size);
        let bytes = bytes.ok().flatten().unwrap_or_default();
        let whole = bytes.len() == arguments_size;
        let at = self.pending.iter().position(|(id, _)| *id == function_id);
        let line = at.map(|at| self.pending.swap_remove(at).1);
        let shown = self.shown(&read(&bytes));
        match line.and_then(|line| self.lines.get_mut(line)) {
            Some(line) if whole => *line = shown,
            Some(line) => *line = "the buffer is not as long as was said".to_owned(),
            None => self.lines.push(format!("an answer to nobody: {function_id}")),
        }
        self.go_on();
        if !self.pending.is_empty() {
            return;
        }
        if self.is("cancel") && !std::mem::replace(&mut self.fenced, true) {
            let payload = self.scenario.as_ref().map(Scenario::fence).unwrap_or_default();
            self.call(&Call { function: "agw_redis", payload });
            return;
        }
        if self.finish() == Action::Continue {
            self.resume_http_request();
        }
    }
}

impl Filter {
    fn is(&self, name: &str) -> bool {
        self.scenario.as_ref().is_some_and(|scenario| scenario.name == name)
    }

    fn call(&mut self, call: &Call) {
        let line = match self.call_foreign_function(call.function, Some(&call.payload)) {
            Ok(Some(bytes)) => match read(&bytes) {
                Answer::Taken(id) => {
                    self.pending.push((id, self.lines.len()));
                    String::new()
                }
                answer => self.shown(&answer),
            },
            Ok(None) => "ok without bytes".to_owned(),
            Err(status) => format!("status {}", status as u32),
        };
        self.lines.push(line);
        self.go_on();
    }

    /// An answer as its line; a cursor in it is gone on with.
    fn shown(&mut self, answer: &Answer) -> String {
        if let Answer::Sql(reply) = answer
            && reply.cursor != 0
        {
            self.cursors.push(reply.cursor);
        }
        answer.to_string()
    }

    /// Asks for the next page, or closes a cursor.
    fn go_on(&mut self) {
        let Some(cursor) = self.cursors.pop() else { return };
        let (closes, callback) = (self.is("sql-close"), self.scenario.as_ref().is_some_and(|it| it.callback));
        self.call(&sql::go_on(cursor, closes, callback));
    }

    /// The first call; once more; and one that never was.
    fn cancel_the_first(&mut self) {
        let Some((id, _)) = self.pending.first().copied() else { return };
        for id in [id, id, 4_000_000_000] {
            let said = match self.call_foreign_function("agw_redis", Some(&request::cancel(id))) {
                Ok(Some(bytes)) => match read(&bytes) {
                    Answer::Taken(taken) if taken == id => "cancelled".to_owned(),
                    answer => answer.to_string(),
                },
                Ok(None) => "ok without bytes".to_owned(),
                Err(status) => format!("status {}", status as u32),
            };
            self.lines.push(said);
        }
    }

    /// Every answer is there.
    fn finish(&self) -> Action {
        let body: String = self.lines.iter().map(|line| format!("{line}\n")).collect();
        if self.is("resume") {
            self.set_http_request_header("x-raw-answer", Some(body.trim_end()));
            return Action::Continue;
        }
        let callbacks = self.callbacks.to_string();
        self.send_http_response(200, vec![("x-callbacks", &callbacks)], Some(body.as_bytes()));
        Action::Pause
    }
}

fn log(message: &str) {
    let _ = hostcalls::log(LogLevel::Info, message);
}
