//! What every test needs: a worker with a host, guests in text form, a backend that answers when told to.

mod backend;
mod guest;
mod log;
mod worker;

pub(crate) use backend::{Backend, call, call_back, decode};
pub(crate) use guest::{ABI, Guest, escaped};
pub(crate) use log::Lines;
pub(crate) use worker::{Worker, engine, in_worker, in_worker_with, plugin, shared, stream};

/// Takes the filter of an [`agw_wasm::Opened`].
pub(crate) fn filter(opened: agw_wasm::Opened) -> agw_wasm::Filter {
    match opened {
        agw_wasm::Opened::Filter(filter) => filter,
        agw_wasm::Opened::Skip => panic!("the plugin was skipped"),
        agw_wasm::Opened::Refused => panic!("the stream was refused"),
    }
}

/// Whether a load or an open came to an end at all, and with which words.
pub(crate) fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
