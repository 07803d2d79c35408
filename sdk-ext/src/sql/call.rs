//! Callback style: calls that do not wait.

use agw_wire::{AGW_SQL, Answer, Request, Response};

use crate::{Error, transport};

/// A call of `agw_sql` that was started and whose answer, a `T`, comes to `on_foreign_function`.
///
/// ```no_run
/// use agw_sdk::sql::SqlCall;
/// use proxy_wasm::traits::{Context, HttpContext};
/// use proxy_wasm::types::Action;
///
/// #[derive(Default)]
/// struct Tier {
///     call: Option<SqlCall<Option<(String,)>>>,
/// }
///
/// impl HttpContext for Tier {
///     fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
///         let user = self.get_http_request_header("x-user-id").unwrap_or_default();
///         let call = agw_sdk::sql("users")
///             .and_then(|users| users.named("find_tier").bind(user).start_query_optional());
///         match call {
///             Ok(call) => {
///                 self.call = Some(call);
///                 Action::Pause
///             }
///             Err(_) => Action::Continue,
///         }
///     }
/// }
///
/// impl Context for Tier {
///     fn on_foreign_function(&mut self, function_id: u32, size: usize) {
///         let Some(call) = self.call.take_if(|call| call.matches(function_id)) else { return };
///         if let Ok(Some((tier,))) = call.answer(size) {
///             self.set_http_request_header("x-tier", Some(&tier));
///         }
///         self.resume_http_request();
///     }
/// }
/// ```
#[derive(Debug)]
pub struct SqlCall<T> {
    id: u32,
    read: fn(&[u8]) -> Result<T, Error>,
}

impl<T> SqlCall<T> {
    pub(super) fn new(id: u32, read: fn(&[u8]) -> Result<T, Error>) -> Self {
        SqlCall { id, read }
    }

    /// The number that comes as `function_id` of `on_foreign_function`.
    pub fn number(&self) -> u32 {
        self.id
    }

    /// Whether `on_foreign_function` was called about this call.
    pub fn matches(&self, function_id: u32) -> bool {
        self.id == function_id
    }

    /// The answer, to be read in `on_foreign_function` with the `size` that it was given.
    ///
    /// # Errors
    /// As the blocking call; [`Error::Cancelled`] after [`SqlCall::cancel`].
    pub fn answer(self, size: usize) -> Result<T, Error> {
        (self.read)(&transport::call_data(size)?)
    }

    /// Reads the answer from bytes at hand: those of the buffer `CallData`.
    ///
    /// # Errors
    /// As [`SqlCall::answer`].
    pub fn decode(self, call_data: &[u8]) -> Result<T, Error> {
        (self.read)(call_data)
    }

    /// Gives the call up. It still answers once: with [`Error::Cancelled`], or with its answer if that was on its way.
    /// A statement that runs is stopped on the server.
    ///
    /// # Errors
    /// [`Error::Invalid`] when no such call is under way.
    pub fn cancel(&self) -> Result<(), Error> {
        cancel(self.id)
    }
}

pub(super) fn cancel(id: u32) -> Result<(), Error> {
    let bytes = transport::call(AGW_SQL, &Request::cancel(id).encode())?;
    match Response::decode(&bytes)?.answer {
        Answer::CallId(_) => Ok(()),
        Answer::Error(error) => Err(error.into()),
        Answer::Resp(_) | Answer::Sql(_) => Err(Error::Host("the host answered a cancellation with a reply")),
    }
}
