//! The one place where the SDK meets the host.

#[cfg(any(target_arch = "wasm32", test))]
use crate::Error;

/// Passes an encoded request to a foreign function and returns the encoded response.
#[cfg(target_arch = "wasm32")]
pub(crate) fn call(function: &str, request: &[u8]) -> Result<Vec<u8>, Error> {
    let answer = proxy_wasm::hostcalls::call_foreign_function(function, Some(request));
    from_host(answer)
}

/// What `proxy_on_foreign_function` was called about.
#[cfg(target_arch = "wasm32")]
pub(crate) fn call_data(size: usize) -> Result<Vec<u8>, Error> {
    use proxy_wasm::types::BufferType;
    from_host(proxy_wasm::hostcalls::get_buffer(BufferType::CallData, 0, size))
}

#[cfg(all(test, not(target_arch = "wasm32")))]
pub(crate) use fake::{call, call_data};
#[cfg(not(any(target_arch = "wasm32", test)))]
pub(crate) use native::{call, call_data};

#[cfg(any(target_arch = "wasm32", test))]
fn from_host(answer: Result<Option<Vec<u8>>, proxy_wasm::types::Status>) -> Result<Vec<u8>, Error> {
    use proxy_wasm::types::Status;
    match answer {
        Ok(Some(bytes)) => Ok(bytes),
        Ok(None) => Err(Error::Host("the host's answer is empty")),
        Err(Status::NotFound) => Err(Error::Unsupported),
        Err(Status::BadArgument) => Err(Error::invalid("the host refused the call or its size")),
        Err(Status::SerializationFailure) => Err(Error::Host("the host does not know this kind of request")),
        Err(_) => Err(Error::Host("the host failed")),
    }
}

/// Outside wasm there is no host; the unit tests put one in its place.
#[cfg(not(any(target_arch = "wasm32", test)))]
mod native {
    use crate::Error;

    pub(crate) fn call(_function: &str, _request: &[u8]) -> Result<Vec<u8>, Error> {
        Err(Error::Unsupported)
    }

    pub(crate) fn call_data(_size: usize) -> Result<Vec<u8>, Error> {
        Err(Error::Unsupported)
    }
}

/// A host for unit tests: it answers what the test says and keeps what it was asked.
#[cfg(test)]
pub(crate) mod fake {
    use std::cell::{Cell, RefCell};
    use std::collections::VecDeque;

    use agw_wire::{Answer, CallError, Response};
    use proxy_wasm::types::Status;

    use crate::Error;

    type HostAnswer = Result<Option<Vec<u8>>, Status>;

    thread_local! {
        static ANSWERS: RefCell<VecDeque<HostAnswer>> = const { RefCell::new(VecDeque::new()) };
        static FUNCTION: Cell<&'static str> = const { Cell::new("") };
        static REQUESTS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn call(function: &str, request: &[u8]) -> Result<Vec<u8>, Error> {
        FUNCTION.set(if function == agw_wire::AGW_SQL { agw_wire::AGW_SQL } else { agw_wire::AGW_REDIS });
        REQUESTS.with_borrow_mut(|requests| requests.push(request.to_vec()));
        next()
    }

    pub(crate) fn call_data(size: usize) -> Result<Vec<u8>, Error> {
        next().map(|mut bytes| {
            bytes.truncate(size);
            bytes
        })
    }

    fn next() -> Result<Vec<u8>, Error> {
        super::from_host(ANSWERS.with_borrow_mut(VecDeque::pop_front).unwrap_or(Err(Status::NotFound)))
    }

    pub(crate) fn will_answer(answer: HostAnswer) {
        ANSWERS.with_borrow_mut(|answers| answers.push_back(answer));
    }

    pub(crate) fn will_reply(resp: &[u8]) {
        will_respond(Response { answer: Answer::Resp(resp), lease: 0 });
    }

    pub(crate) fn will_fail(error: CallError) {
        will_respond(Response::from(error));
    }

    pub(crate) fn will_respond(response: Response<'_>) {
        will_answer(Ok(Some(response.encode())));
    }

    /// Which function was called last.
    pub(crate) fn function() -> &'static str {
        FUNCTION.get()
    }

    /// The requests so far, oldest first; forgets them.
    pub(crate) fn take_requests() -> Vec<Vec<u8>> {
        REQUESTS.with_borrow_mut(std::mem::take)
    }
}

#[cfg(test)]
mod tests {
    use proxy_wasm::types::Status;

    use super::*;

    #[test]
    fn each_status_of_the_host_is_an_error_of_its_own() {
        assert_eq!(from_host(Err(Status::NotFound)), Err(Error::Unsupported));
        assert!(matches!(from_host(Err(Status::BadArgument)), Err(Error::Invalid(_))));
        assert!(matches!(from_host(Err(Status::SerializationFailure)), Err(Error::Host(_))));
        assert!(matches!(from_host(Err(Status::InternalFailure)), Err(Error::Host(_))));
        assert!(matches!(from_host(Ok(None)), Err(Error::Host(_))));
        assert_eq!(from_host(Ok(Some(vec![1]))), Ok(vec![1]));
    }
}
