//! Bounds that are not configured, and what happens at each.

use std::time::Duration;

/// Requests that were handed to a kept connection but never written, because the peer had closed it, go to another
/// connection this often; then the request is answered with 502.
pub(crate) const UNSENT_ATTEMPTS_MAX: usize = 3;

/// Bytes of access log that wait for the writer; lines beyond it are dropped and counted.
pub(crate) const ACCESS_LOG_BYTES_MAX: usize = 4 << 20;

/// How long the access log's writer collects lines before it writes them.
pub(crate) const ACCESS_LOG_GATHER: Duration = Duration::from_millis(5);

/// A reply made at the exchange's deadline has this long to pass the filters and reach the client; then the
/// connection is closed.
pub(crate) const REPLY_GRACE: Duration = Duration::from_secs(1);

/// How long connections that outlived the drain have to notice that they were closed.
pub(crate) const CLOSE_GRACE: Duration = Duration::from_secs(1);

/// How long a worker may take to serve with a new revision before that is told as an error; it still takes it then.
pub(crate) const TURN_TIMEOUT: Duration = Duration::from_secs(10);

/// How long the root contexts of a worker's VMs have to say that they are done.
pub(crate) const VM_SHUTDOWN: Duration = Duration::from_secs(5);

/// After a failed accept (no file descriptors, say) the listener rests for this long.
pub(crate) const ACCEPT_BACKOFF: Duration = Duration::from_millis(50);

/// A timeout that is longer than the clock can say counts as this long.
pub(crate) const FAR_FUTURE: Duration = Duration::from_secs(365 * 24 * 3600);

/// How often a worker looks for idle upstream connections to close.
pub(crate) const REAP_INTERVAL: Duration = Duration::from_secs(1);

/// Connections that the kernel keeps for a listener until a worker accepts them.
pub(crate) const BACKLOG: i32 = 1024;

/// Bytes of an `x-request-id` that is kept; a longer one is replaced.
pub(crate) const REQUEST_ID_BYTES_MAX: usize = 128;

/// Bytes of a host name; DNS has none that is longer, so a longer one matches no named host.
pub(crate) const HOST_BYTES_MAX: usize = 255;

/// Bytes of a path that a rewrite made; a longer one is answered with 414.
pub(crate) const REWRITTEN_PATH_BYTES_MAX: usize = 64 << 10;

/// Bytes that hyper needs at least to read a head.
pub(crate) const READ_BUFFER_BYTES_MIN: usize = 8192;

/// Bytes that a client connection may buffer in each direction, apart from one head.
pub(crate) const BODY_BUFFER_BYTES: usize = 64 << 10;

/// Bytes of a connection's first read, if its protocol is told from them.
pub(crate) const FIRST_READ_BYTES: usize = 1024;

/// A client that is still sending when its last answer has gone out is read from for so long ...
pub(crate) const LINGER_TIME: Duration = Duration::from_secs(5);

/// ... and for so many bytes; then the connection is closed, which may cost it the answer.
pub(crate) const LINGER_BYTES_MAX: usize = 16 << 20;

/// Bytes of one such read.
pub(crate) const LINGER_READ_BYTES: usize = 4096;

/// PING, SETTINGS and PRIORITY frames, and those of unknown types, that an HTTP/2 client may send within
/// [`HTTP2_FLOOD_WINDOW`]; at more the connection is closed with ENHANCE_YOUR_CALM.
pub(crate) const HTTP2_CONTROL_FRAMES_MAX: usize = 1000;

/// The time in which so many control frames, or a listener's bound of reset streams, are a flood.
pub(crate) const HTTP2_FLOOD_WINDOW: Duration = Duration::from_secs(1);

/// How often the files of certificates are looked at.
pub(crate) const CERTIFICATE_POLL: Duration = Duration::from_secs(1);

/// Bytes of a certificate's file; a larger one is refused.
pub(crate) const CERTIFICATE_FILE_BYTES_MAX: u64 = 1 << 20;

/// During a drain, a connection without a request may still bring one for so long: its client may have sent it before
/// it could know. The answer says `connection: close`.
pub(crate) const DRAIN_IDLE_GRACE: Duration = Duration::from_millis(500);

/// Headers that hyper keeps on its stack; only another bound costs an allocation per request.
pub(crate) const HEADERS_DEFAULT: usize = 100;

/// Endpoints that one try of a request connects to, one after another, before it is answered with 503.
pub(crate) const CONNECT_ENDPOINTS_MAX: usize = 16;

/// Retries that a cluster always allows at once, however few requests are under way.
pub(crate) const RETRIES_ALWAYS: usize = 3;

/// Addresses of one name that become endpoints; the rest is left out.
pub(crate) const ADDRESSES_PER_NAME_MAX: usize = 256;

/// The log says at most so often why an endpoint cannot be reached.
pub(crate) const COMPLAINT_INTERVAL: Duration = Duration::from_secs(10);

/// Points that an endpoint has on the ring of a consistent hash.
pub(crate) const RING_POINTS_PER_ENDPOINT: usize = 256;

/// Points of all endpoints together; beyond it each has fewer.
pub(crate) const RING_POINTS_MAX: usize = 1 << 16;

/// Streams open at once on one HTTP/2 connection to an upstream, even if it allows more; more open another.
pub(crate) const HTTP2_STREAMS_MAX: usize = 1000;

/// Bytes of one stream that an HTTP/2 upstream may send unread.
pub(crate) const HTTP2_STREAM_WINDOW: u32 = 256 << 10;

/// The same for all streams of a connection.
pub(crate) const HTTP2_CONNECTION_WINDOW: u32 = 2 << 20;

/// Bytes of one stream that wait to be written to an HTTP/2 upstream.
pub(crate) const HTTP2_SEND_BUFFER_BYTES: usize = 256 << 10;

/// Bytes of a response's headers from an HTTP/2 upstream; a larger response is an error of that stream.
pub(crate) const HTTP2_HEADER_BYTES_MAX: u32 = 64 << 10;

/// An HTTP/2 upstream with open streams is pinged so often ...
pub(crate) const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(10);

/// ... and its connection is closed if it does not answer for so long.
pub(crate) const HTTP2_PING_TIMEOUT: Duration = Duration::from_secs(5);
