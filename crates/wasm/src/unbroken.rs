//! Calls that outlive whoever waits for them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use crate::context::StreamContext;
use crate::spawner::{LocalFuture, Spawner};

/// A call into a guest that must not be dropped while the guest is suspended. Dropped by its caller, it goes on in
/// the background, with the context's foreign calls cancelled, so that the guest ends soon and in order.
pub(crate) struct Unbroken<T: 'static> {
    call: Option<LocalFuture<T>>,
    spawner: Spawner,
    context: Arc<StreamContext>,
}

impl<T> Unbroken<T> {
    pub(crate) fn new(call: LocalFuture<T>, spawner: &Spawner, context: &Arc<StreamContext>) -> Self {
        Unbroken { call: Some(call), spawner: spawner.clone(), context: context.clone() }
    }
}

impl<T> Future for Unbroken<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.call {
            None => Poll::Pending,
            Some(call) => {
                let poll = call.as_mut().poll(cx);
                if poll.is_ready() {
                    self.call = None;
                }
                poll
            }
        }
    }
}

impl<T> Drop for Unbroken<T> {
    fn drop(&mut self) {
        if let Some(call) = self.call.take() {
            self.context.cancel_calls();
            self.spawner.spawn(async move {
                call.await;
            });
        }
    }
}
