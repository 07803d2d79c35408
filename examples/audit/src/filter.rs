//! The filter: notes requests as they end, and has the root context write them.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use proxy_wasm::traits::{Context, HttpContext, RootContext};
use proxy_wasm::types::{ContextType, LogLevel};

use crate::config::Config;
use crate::journal::Journal;
use crate::row::Ended;

/// How often rows that cannot be written are tried again once the VM is to end.
const RETRY_AT_END: Duration = Duration::from_millis(100);

proxy_wasm::main! {{
    proxy_wasm::set_log_level(LogLevel::Info);
    proxy_wasm::set_root_context(|_| -> Box<dyn RootContext> { Box::new(Root::default()) });
}}

/// One per VM. Answers of calls that a stream made in its last moment come here, too.
#[derive(Default)]
struct Root {
    journal: Option<Rc<RefCell<Journal>>>,
    /// The VM ends as soon as everything is written.
    ending: bool,
    /// It was logged that rows may be lost.
    told: bool,
}

/// One request.
struct Audit {
    journal: Rc<RefCell<Journal>>,
}

// === impl Root ===

impl Context for Root {
    fn on_foreign_function(&mut self, function_id: u32, size: usize) {
        let Some(journal) = &self.journal else { return };
        let mut journal = journal.borrow_mut();
        if !journal.answered(function_id, size) {
            return;
        }
        // What failed goes again at the next tick, not in a loop.
        if journal.is_due() || (self.ending && !journal.is_failing()) {
            journal.send();
        }
        let left = journal.left();
        if self.ending && left == 0 {
            self.done();
        } else if self.ending && journal.is_failing() && !std::mem::replace(&mut self.told, true) {
            log::warn!("{left} rows are not written, and will be lost if that lasts");
        }
    }

    /// The host calls this when nothing will come any more, and waits for `done`, for a bounded time.
    fn on_done(&mut self) -> bool {
        let Some(journal) = &self.journal else { return true };
        let mut journal = journal.borrow_mut();
        journal.send();
        self.ending = journal.left() > 0;
        if self.ending {
            // What fails now has little time to go again.
            self.set_tick_period(RETRY_AT_END);
        }
        !self.ending
    }
}

impl RootContext for Root {
    fn on_configure(&mut self, _size: usize) -> bool {
        let config = match Config::parse(&self.get_plugin_configuration().unwrap_or_default()) {
            Ok(config) => config,
            Err(problem) => {
                log::error!("{problem}");
                return false;
            }
        };
        self.set_tick_period(config.interval);
        self.journal = Journal::new(config).map(|journal| Rc::new(RefCell::new(journal)));
        if self.journal.is_none() {
            log::error!("the host gives no randomness, which rows need for their ids");
        }
        self.journal.is_some()
    }

    fn on_tick(&mut self) {
        let Some(journal) = &self.journal else { return };
        journal.borrow_mut().send();
    }

    fn get_type(&self) -> Option<ContextType> {
        Some(ContextType::HttpContext)
    }

    fn create_http_context(&self, _context_id: u32) -> Option<Box<dyn HttpContext>> {
        let journal = self.journal.clone()?;
        Some(Box::new(Audit { journal }))
    }
}

// === impl Audit ===

impl Context for Audit {}

impl HttpContext for Audit {
    fn on_log(&mut self) {
        self.journal.borrow_mut().add(self);
    }
}

impl Ended for Audit {
    fn property(&self, path: [&str; 2]) -> Option<Vec<u8>> {
        self.get_property(path.to_vec())
    }

    fn header(&self, name: &str) -> Option<Vec<u8>> {
        self.get_http_request_header_bytes(name)
    }
}
