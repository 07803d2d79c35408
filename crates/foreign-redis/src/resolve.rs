//! Names to addresses, anew for every connection: nothing is kept, so that whatever a name points to now is where the next
//! connection goes.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use agw_config::RedisHost;

/// The addresses of a host, or why there are none.
pub(crate) type Answer = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// Asks for the addresses of a host.
pub(crate) type Lookup = Arc<dyn Fn(RedisHost) -> Answer + Send + Sync>;

/// The system's resolver.
pub(crate) fn system() -> Lookup {
    Arc::new(|at| {
        Box::pin(async move { Ok(tokio::net::lookup_host((at.host.as_str(), at.port)).await?.collect()) })
    })
}
