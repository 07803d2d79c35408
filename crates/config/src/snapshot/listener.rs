//! Where clients come in.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::schema::listener as bounds;
use crate::secret::Secret;

/// An address that takes connections.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    /// Unique.
    pub name: String,
    /// IP address and port; port 0 lets the system choose.
    pub address: SocketAddr,
    /// `None` is plaintext.
    pub tls: Option<ListenerTls>,
    /// Which versions of HTTP are spoken: chosen by ALPN with TLS, by the client's first bytes without.
    pub protocols: Protocols,
    /// Whose word about the client is believed, and what upstreams are told.
    pub forwarded: ForwardedPolicy,
    /// Bytes of a request's line and headers together; more is a 431.
    pub header_bytes_max: usize,
    /// Number of headers; more is a 431.
    pub headers_max: usize,
    /// Time for a TLS handshake, and then for a whole head to arrive, from its first byte; later the connection is
    /// closed.
    pub header_timeout: Duration,
    /// A connection without a request is closed after this.
    pub idle_timeout: Duration,
    /// Open connections per worker; more wait in the kernel's queue.
    pub connections_max: usize,
    /// HTTP/2 only.
    pub http2: Http2Limits,
}

impl Listener {
    /// Plaintext, both versions of HTTP, and the defaults of a document.
    pub fn new(name: &str, address: SocketAddr) -> Self {
        Listener {
            name: name.to_owned(),
            address,
            tls: None,
            protocols: Protocols { http1: true, http2: true },
            forwarded: ForwardedPolicy::default(),
            header_bytes_max: bounds::HEADER_BYTES.default_usize(),
            headers_max: bounds::HEADERS.default_usize(),
            header_timeout: bounds::HEADER_TIMEOUT.default_duration(),
            idle_timeout: bounds::IDLE_TIMEOUT.default_duration(),
            connections_max: bounds::CONNECTIONS.default_usize(),
            http2: Http2Limits::default(),
        }
    }
}

/// Versions of HTTP. At least one is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Protocols {
    /// HTTP/1.1 and 1.0.
    pub http1: bool,
    /// HTTP/2.
    pub http2: bool,
}

/// Bounds on one HTTP/2 connection.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Http2Limits {
    /// Streams open at once; more are refused.
    pub streams_max: u32,
    /// Streams that the client reset before they were answered and whose work has not ended; more close the
    /// connection with ENHANCE_YOUR_CALM (rapid reset).
    pub resets_max: usize,
    /// Bytes of a stream that may be under way to the gateway unread.
    pub stream_window: u32,
    /// The same for all streams of a connection.
    pub connection_window: u32,
    /// A PING goes out after this much silence; without an answer in as much time the connection is closed.
    pub keepalive: Duration,
}

impl Default for Http2Limits {
    fn default() -> Self {
        Http2Limits {
            streams_max: bounds::HTTP2_STREAMS.default_u32(),
            resets_max: bounds::HTTP2_RESETS.default_usize(),
            stream_window: bounds::HTTP2_STREAM_WINDOW.default_u32(),
            connection_window: bounds::HTTP2_CONNECTION_WINDOW.default_u32(),
            keepalive: bounds::HTTP2_KEEPALIVE.default_duration(),
        }
    }
}

/// Whose word about the client is believed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ForwardedPolicy {
    /// Proxies in front of the gateway, counted from it: so many last entries of `x-forwarded-for` are theirs. 0: the
    /// client is the peer, and what it says about itself (`x-forwarded-*`, `forwarded`) is replaced.
    pub trusted_hops: usize,
    /// If not empty, the peer must be in one of these networks for `trusted_hops` to count.
    pub trusted_networks: Vec<IpNetwork>,
    /// Whether `forwarded` (RFC 7239) is written beside `x-forwarded-for`, `-proto` and `-host`.
    pub rfc7239: bool,
}

/// An address with the number of bits that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IpNetwork {
    /// Bits beyond `prefix` are zero.
    pub address: IpAddr,
    /// At most 32 or 128.
    pub prefix: u8,
}

impl IpNetwork {
    /// Whether the address is inside. An IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let bits = |address: IpAddr| match address.to_canonical() {
            IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
            IpAddr::V6(v6) => (v6.to_bits(), false),
        };
        let ((own, own_v4), (other, other_v4)) = (bits(self.address), bits(address));
        let shift = 128 - u32::from(self.prefix.min(128));
        own_v4 == other_v4 && (own ^ other).checked_shr(shift).unwrap_or(0) == 0
    }
}

/// TLS on a listener.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenerTls {
    /// Not empty. Chosen by the client's SNI among the DNS names in the certificates (exact before wildcard, then the
    /// order of the document); the first one serves clients whose name nobody has, or that name none.
    pub certificates: Vec<ServerCertificate>,
    /// Whether clients show certificates.
    pub client_auth: Option<ClientAuth>,
    /// The oldest version that is accepted.
    pub min_version: TlsVersion,
}

/// A certificate to serve with.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerCertificate {
    /// PEM, leaf first.
    pub chain: Pem,
    /// PEM of its private key.
    pub key: Pem,
}

/// PEM text as it was when the document was loaded, and where to look for a newer one.
#[derive(Clone, Debug)]
pub struct Pem {
    /// Never shown; a chain is no secret, but is treated alike.
    pub text: Secret,
    /// The file that it came from, watched for changes; `None` if it came from the environment.
    pub file: Option<PathBuf>,
}

/// The same file is the same certificate: what it says by now is for whoever watches it.
impl PartialEq for Pem {
    fn eq(&self, other: &Self) -> bool {
        self.file == other.file && (self.file.is_some() || self.text == other.text)
    }
}

/// Certificates of clients.
#[derive(Clone, Debug, PartialEq)]
pub struct ClientAuth {
    /// PEM of the authorities that may have signed them.
    pub ca: Pem,
    /// A client without certificate is refused in the handshake; otherwise it is served, and plugins can tell.
    pub required: bool,
}

/// Versions of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// 1.2
    V1_2,
    /// 1.3
    V1_3,
}
