//! The callbacks that a guest exports. All are optional.

use wasmtime::{Instance, Store, TypedFunc, WasmParams, WasmResults};

use crate::error::LoadError;
use crate::vm_data::VmData;

/// A callback of a stream that gives a verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Callback {
    RequestHeaders,
    RequestBody,
    RequestTrailers,
    ResponseHeaders,
    ResponseBody,
    ResponseTrailers,
}

impl Callback {
    /// In the order of their numbers.
    pub(crate) const ALL: [Callback; 6] = [
        Callback::RequestHeaders,
        Callback::RequestBody,
        Callback::RequestTrailers,
        Callback::ResponseHeaders,
        Callback::ResponseBody,
        Callback::ResponseTrailers,
    ];

    /// Its name in metrics.
    pub(crate) fn phase(self) -> &'static str {
        match self {
            Callback::RequestHeaders => "request_headers",
            Callback::RequestBody => "request_body",
            Callback::RequestTrailers => "request_trailers",
            Callback::ResponseHeaders => "response_headers",
            Callback::ResponseBody => "response_body",
            Callback::ResponseTrailers => "response_trailers",
        }
    }
}

/// `(context, count or size, end of stream) -> action`
pub(crate) type Message = TypedFunc<(u32, u32, u32), u32>;
/// `(context, count) -> action`
pub(crate) type Trailers = TypedFunc<(u32, u32), u32>;
/// `(context) -> ()`
type Event = TypedFunc<u32, ()>;
/// `(context, configuration size) -> accepted`
type Start = TypedFunc<(u32, u32), u32>;

/// What a guest exports.
pub(crate) struct Exports {
    pub(crate) initialize: Option<TypedFunc<(), ()>>,
    pub(crate) main: Option<TypedFunc<(u32, u32), u32>>,
    /// `main` without arguments, as newer C libraries name it.
    pub(crate) main_void: Option<TypedFunc<(), u32>>,
    pub(crate) start: Option<TypedFunc<(), ()>>,
    pub(crate) context_create: Option<TypedFunc<(u32, u32), ()>>,
    pub(crate) vm_start: Option<Start>,
    pub(crate) configure: Option<Start>,
    pub(crate) tick: Option<Event>,
    pub(crate) request_headers: Option<Message>,
    pub(crate) request_body: Option<Message>,
    pub(crate) request_trailers: Option<Trailers>,
    pub(crate) response_headers: Option<Message>,
    pub(crate) response_body: Option<Message>,
    pub(crate) response_trailers: Option<Trailers>,
    pub(crate) foreign_function: Option<TypedFunc<(u32, u32, u32), ()>>,
    pub(crate) done: Option<TypedFunc<u32, u32>>,
    pub(crate) log: Option<Event>,
    pub(crate) delete: Option<Event>,
}

impl Exports {
    /// # Errors
    /// [`LoadError::ExportType`] when an export has another type than the ABI's.
    pub(crate) fn of(instance: &Instance, store: &mut Store<VmData>) -> Result<Self, LoadError> {
        let mut find = Finder { instance, store };
        Ok(Exports {
            initialize: find.function("_initialize")?,
            main: find.function("main").ok().flatten(),
            main_void: find.function("__main_void").ok().flatten(),
            start: find.function("_start")?,
            context_create: find.function("proxy_on_context_create")?,
            vm_start: find.function("proxy_on_vm_start")?,
            configure: find.function("proxy_on_configure")?,
            tick: find.function("proxy_on_tick")?,
            request_headers: find.function("proxy_on_request_headers")?,
            request_body: find.function("proxy_on_request_body")?,
            request_trailers: find.function("proxy_on_request_trailers")?,
            response_headers: find.function("proxy_on_response_headers")?,
            response_body: find.function("proxy_on_response_body")?,
            response_trailers: find.function("proxy_on_response_trailers")?,
            foreign_function: find.function("proxy_on_foreign_function")?,
            done: find.function("proxy_on_done")?,
            log: find.function("proxy_on_log")?,
            delete: find.function("proxy_on_delete")?,
        })
    }

    /// The export for a head or a body; trailers have another type.
    pub(crate) fn message(&self, callback: Callback) -> &Option<Message> {
        match callback {
            Callback::RequestHeaders => &self.request_headers,
            Callback::RequestBody => &self.request_body,
            Callback::ResponseHeaders => &self.response_headers,
            Callback::ResponseBody => &self.response_body,
            Callback::RequestTrailers | Callback::ResponseTrailers => &None,
        }
    }

    pub(crate) fn trailers(&self, callback: Callback) -> &Option<Trailers> {
        match callback {
            Callback::RequestTrailers => &self.request_trailers,
            Callback::ResponseTrailers => &self.response_trailers,
            _ => &None,
        }
    }
}

struct Finder<'a> {
    instance: &'a Instance,
    store: &'a mut Store<VmData>,
}

impl Finder<'_> {
    fn function<P: WasmParams, R: WasmResults>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<TypedFunc<P, R>>, LoadError> {
        match self.instance.get_func(&mut *self.store, name) {
            None => Ok(None),
            Some(func) => {
                let typed =
                    func.typed(&*self.store).map_err(|source| LoadError::ExportType { name, source })?;
                Ok(Some(typed))
            }
        }
    }
}
