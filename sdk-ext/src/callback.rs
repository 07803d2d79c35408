//! Callback style: calls that do not wait.

use agw_wire::{Answer, Request, Response};

use crate::batch::read;
use crate::{Error, FromReply, transport};

/// A call that was started and whose answer comes to `on_foreign_function`.
///
/// ```no_run
/// use agw_sdk::{CallId, Error};
/// use proxy_wasm::traits::{Context, HttpContext};
/// use proxy_wasm::types::Action;
///
/// #[derive(Default)]
/// struct Visits {
///     call: Option<CallId>,
/// }
///
/// impl HttpContext for Visits {
///     fn on_http_request_headers(&mut self, _: usize, _: bool) -> Action {
///         let call = agw_sdk::redis("limits").and_then(|limits| limits.pipeline().incr("visits").start());
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
/// impl Context for Visits {
///     fn on_foreign_function(&mut self, function_id: u32, size: usize) {
///         let Some(call) = self.call.take_if(|call| call.matches(function_id)) else { return };
///         let answer: Result<(i64,), Error> = agw_sdk::answer(call, size);
///         if let Ok((count,)) = answer {
///             self.set_http_request_header("x-visits", Some(&count.to_string()));
///         }
///         self.resume_http_request();
///     }
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallId {
    pub(crate) id: u32,
    pub(crate) commands: usize,
    pub(crate) atomic: bool,
}

impl CallId {
    /// The number that comes as `function_id` of `on_foreign_function`.
    ///
    /// ```no_run
    /// # fn f() -> Result<(), agw_sdk::Error> {
    /// let call = agw_sdk::redis("limits")?.pipeline().incr("visits").start()?;
    /// let number: u32 = call.number();
    /// # Ok(())
    /// # }
    /// ```
    pub fn number(self) -> u32 {
        self.id
    }

    /// Whether `on_foreign_function` was called about this call.
    ///
    /// ```no_run
    /// # fn f(call: agw_sdk::CallId, function_id: u32) {
    /// let ours = call.matches(function_id);
    /// # }
    /// ```
    pub fn matches(self, function_id: u32) -> bool {
        self.id == function_id
    }

    /// Reads the answer from bytes at hand: those of the buffer `CallData`.
    ///
    /// # Errors
    /// As any call of [`Redis`](crate::Redis).
    ///
    /// ```no_run
    /// # fn f(call: agw_sdk::CallId, call_data: &[u8]) -> Result<(), agw_sdk::Error> {
    /// let (count,): (i64,) = call.decode(call_data)?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn decode<T: FromReply>(self, call_data: &[u8]) -> Result<T, Error> {
        read(call_data, self.commands, self.atomic)
    }
}

/// The answer to `call`, to be read in `on_foreign_function` with the `size` that it was given. The replies
/// come as in [`Batch::run`](crate::Batch::run): a tuple, or a `Vec`.
///
/// # Errors
/// As any call of [`Redis`](crate::Redis); [`Error::Cancelled`] after [`cancel`].
///
/// ```no_run
/// # fn f(call: agw_sdk::CallId, size: usize) -> Result<(), agw_sdk::Error> {
/// let (count,): (i64,) = agw_sdk::answer(call, size)?;
/// # Ok(())
/// # }
/// ```
pub fn answer<T: FromReply>(call: CallId, size: usize) -> Result<T, Error> {
    call.decode(&transport::call_data(size)?)
}

/// Gives a started call up. It still answers once: with [`Error::Cancelled`], or with its reply if that was on
/// its way. Commands that were sent already may have run.
///
/// # Errors
/// [`Error::Invalid`] when no such call is under way.
///
/// ```no_run
/// # fn f() -> Result<(), agw_sdk::Error> {
/// let call = agw_sdk::redis("limits")?.pipeline().incr("visits").start()?;
/// agw_sdk::cancel(call)?;
/// # Ok(())
/// # }
/// ```
pub fn cancel(call: CallId) -> Result<(), Error> {
    let bytes = transport::call(agw_wire::AGW_REDIS, &Request::cancel(call.id).encode())?;
    match Response::decode(&bytes)?.answer {
        Answer::Error(error) => Err(error.into()),
        Answer::Resp(_) | Answer::Sql(_) | Answer::CallId(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use agw_wire::{CallError, Code, Style};

    use super::*;
    use crate::transport::fake;

    #[test]
    fn a_started_call_answers_by_its_id() {
        fake::will_respond(Response { answer: Answer::CallId(9), lease: 0 });
        let call = crate::redis("limits").unwrap().pipeline().incr("a").get("b").start().unwrap();
        let request = fake::take_requests().remove(0);
        assert_eq!(Request::decode(&request).unwrap().style, Style::Callback);
        assert!(call.matches(9) && !call.matches(8));
        assert_eq!(call.number(), 9);

        fake::will_reply(b":3\r\n$1\r\nx\r\n");
        let answer: (i64, Option<String>) = answer(call, 64).unwrap();
        assert_eq!(answer, (3, Some("x".into())));
    }

    #[test]
    fn a_call_that_is_refused_at_once_has_no_id() {
        fake::will_fail(CallError::new(Code::Overloaded, ""));
        let call = crate::redis("limits").unwrap().pipeline().incr("a").start();
        assert!(matches!(call, Err(Error::Overloaded(_))), "{call:?}");
    }

    #[test]
    fn cancelling_names_only_the_call() {
        let call = CallId { id: 7, commands: 1, atomic: false };
        fake::will_respond(Response { answer: Answer::CallId(7), lease: 0 });
        assert_eq!(cancel(call), Ok(()));
        assert_eq!(Request::decode(&fake::take_requests()[0]).unwrap(), Request::cancel(7));
        fake::will_fail(CallError::new(Code::Invalid, "no such call"));
        assert!(matches!(cancel(call), Err(Error::Invalid(_))));
    }

    #[test]
    fn an_answer_cut_at_any_byte_is_an_error_and_no_panic() {
        let call = CallId { id: 7, commands: 2, atomic: false };
        let whole = Response { answer: Answer::Resp(b":3\r\n*1\r\n$1\r\nx\r\n"), lease: 0 }.encode();
        assert_eq!(call.decode::<(i64, Vec<String>)>(&whole), Ok((3, vec!["x".into()])));
        for end in 0..whole.len() {
            let cut: Result<(i64, Vec<String>), Error> = call.decode(&whole[..end]);
            assert!(cut.is_err(), "cut at {end}: {cut:?}");
        }
    }
}
