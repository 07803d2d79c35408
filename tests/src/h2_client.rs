//! An HTTP/2 client that sends frames one by one, right or wrong.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::{hpack, planted};

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// No test waits longer for one frame.
const FRAME_WITHIN: Duration = Duration::from_secs(20);

/// Types of frames (RFC 9113, 6).
#[allow(missing_docs, reason = "the names are the standard's")]
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const PRIORITY: u8 = 2;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PUSH_PROMISE: u8 = 5;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
    pub const CONTINUATION: u8 = 9;
}

/// Their flags.
#[allow(missing_docs, reason = "the names are the standard's")]
pub mod flag {
    pub const NONE: u8 = 0;
    pub const ACK: u8 = 0x1;
    pub const END_STREAM: u8 = 0x1;
    pub const END_HEADERS: u8 = 0x4;
    pub const PADDED: u8 = 0x8;
    pub const PRIORITY: u8 = 0x20;
    /// A whole request without body.
    pub const WHOLE: u8 = END_STREAM | END_HEADERS;
}

/// Error codes (RFC 9113, 7).
#[allow(missing_docs, reason = "the names are the standard's")]
pub mod code {
    pub const NO_ERROR: u32 = 0;
    pub const PROTOCOL: u32 = 1;
    pub const FLOW_CONTROL: u32 = 3;
    pub const STREAM_CLOSED: u32 = 5;
    pub const FRAME_SIZE: u32 = 6;
    pub const REFUSED_STREAM: u32 = 7;
    pub const CANCEL: u32 = 8;
    pub const COMPRESSION: u32 = 9;
    pub const ENHANCE_YOUR_CALM: u32 = 11;
}

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// See [`kind`].
    pub kind: u8,
    /// See [`flag`].
    pub flags: u8,
    /// 0 is the connection.
    pub stream: u32,
    /// What follows the nine bytes of its head.
    pub payload: Vec<u8>,
}

/// The client's side of one connection.
#[derive(Debug)]
pub struct H2Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    settings: Vec<(u16, u32)>,
}

// === impl Frame ===

impl Frame {
    /// Its bytes.
    pub fn bytes(&self) -> Vec<u8> {
        frame(self.kind, self.flags, self.stream, &self.payload)
    }

    /// The error code of RST_STREAM and GOAWAY.
    pub fn code(&self) -> Option<u32> {
        let at = match self.kind {
            kind::RST_STREAM => 0,
            kind::GOAWAY => 4,
            _ => return None,
        };
        self.payload.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes)
    }

    /// The status that HEADERS give.
    pub fn status(&self) -> Option<u16> {
        (self.kind == kind::HEADERS).then(|| hpack::status(&self.payload)).flatten()
    }

    /// Whether it ends its stream.
    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, kind::HEADERS | kind::DATA) && self.flags & flag::END_STREAM != 0
    }
}

/// A frame's bytes, whatever it is.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// HEADERS.
pub fn headers(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::HEADERS, flags, stream, block)
}

/// DATA.
pub fn data(stream: u32, flags: u8, bytes: &[u8]) -> Vec<u8> {
    frame(kind::DATA, flags, stream, bytes)
}

/// CONTINUATION.
pub fn continuation(stream: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(kind::CONTINUATION, flags, stream, block)
}

/// SETTINGS.
pub fn settings(pairs: &[(u16, u32)]) -> Vec<u8> {
    let pair = |(id, value): &(u16, u32)| [&id.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(kind::SETTINGS, flag::NONE, 0, &pairs.iter().flat_map(pair).collect::<Vec<_>>())
}

/// PING.
pub fn ping(payload: [u8; 8]) -> Vec<u8> {
    frame(kind::PING, flag::NONE, 0, &payload)
}

/// RST_STREAM.
pub fn reset(stream: u32, code: u32) -> Vec<u8> {
    frame(kind::RST_STREAM, flag::NONE, stream, &code.to_be_bytes())
}

/// WINDOW_UPDATE.
pub fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(kind::WINDOW_UPDATE, flag::NONE, stream, &increment.to_be_bytes())
}

/// PRIORITY, as the last specification but one had it.
pub fn priority(stream: u32, depends_on: u32, weight: u8) -> Vec<u8> {
    frame(kind::PRIORITY, flag::NONE, stream, &[&depends_on.to_be_bytes()[..], &[weight]].concat())
}

// === impl H2Client ===

impl H2Client {
    /// A connection on which nothing has been said.
    ///
    /// # Errors
    /// When the server does not take it.
    pub async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(H2Client { stream, buffer: Vec::new(), settings: Vec::new() })
    }

    /// The same, after both sides have said and taken their settings. Ours: no header table, and these.
    ///
    /// # Errors
    /// When the server does not speak HTTP/2.
    pub async fn handshake(address: SocketAddr, ours: &[(u16, u32)]) -> Result<Self> {
        let mut client = Self::connect(address).await?;
        client.send(&[PREFACE, &settings(&[&[(1, 0)], ours].concat())].concat()).await?;
        let (mut theirs, mut acknowledged) = (false, false);
        while !(theirs && acknowledged) {
            let frame = client.frame().await?.context("closed in the handshake")?;
            match (frame.kind, frame.flags) {
                (kind::SETTINGS, flag::ACK) => acknowledged = true,
                (kind::SETTINGS, _) => {
                    theirs = true;
                    client.settings = pairs(&frame.payload);
                    client.send(&self::frame(kind::SETTINGS, flag::ACK, 0, &[])).await?;
                }
                (kind::WINDOW_UPDATE, _) => {}
                other => bail!("frame {other:?} in the handshake"),
            }
        }
        Ok(client)
    }

    /// What the server said of one of its settings.
    pub fn setting(&self, id: u16) -> Option<u32> {
        self.settings.iter().rev().find(|(other, _)| *other == id).map(|(_, value)| *value)
    }

    /// Sends bytes as they are.
    ///
    /// # Errors
    /// When the server has closed; often that is what the test wants, see [`H2Client::try_send`].
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        timeout(FRAME_WITHIN, self.stream.write_all(bytes)).await.context("the server reads no more")??;
        Ok(())
    }

    /// Sends bytes; says whether the server took them. A server that reads no more is an error.
    ///
    /// # Errors
    /// When the server neither reads nor closes.
    pub async fn try_send(&mut self, bytes: &[u8]) -> Result<bool> {
        let sent = timeout(FRAME_WITHIN, self.stream.write_all(bytes)).await;
        Ok(sent.context("the server neither reads nor closes")?.is_ok())
    }

    /// The next frame; `None` once the server has closed.
    ///
    /// # Errors
    /// When nothing comes in time, or the frame has a [secret](crate::planted) of the test.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn frame(&mut self) -> Result<Option<Frame>> {
        loop {
            if let Some(frame) = self.buffered() {
                planted::check(&frame.payload)?;
                return Ok(Some(frame));
            }
            let read = timeout(FRAME_WITHIN, self.stream.read_buf(&mut self.buffer)).await;
            // A reset connection is closed as well.
            if read.context("no frame comes")?.unwrap_or(0) == 0 {
                return Ok(None);
            }
        }
    }

    fn buffered(&mut self) -> Option<Frame> {
        let [l1, l2, l3, kind, flags, s1, s2, s3, s4] = *self.buffer.first_chunk::<9>()?;
        let end = 9 + u32::from_be_bytes([0, l1, l2, l3]) as usize;
        let payload = self.buffer.get(9..end)?.to_vec();
        self.buffer.drain(..end);
        let stream = u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff;
        Some(Frame { kind, flags, stream, payload })
    }

    /// The status on this stream, read until the stream ends.
    ///
    /// # Errors
    /// When there is none: the stream is reset, or the connection ends.
    pub async fn answer(&mut self, stream: u32) -> Result<(u16, Vec<u8>)> {
        let (mut status, mut body) = (None, Vec::new());
        loop {
            let frame = self.frame().await?.context("closed before the answer")?;
            ensure!(
                frame.kind != kind::GOAWAY || frame.code() == Some(0),
                "GOAWAY before the answer: {frame:?}"
            );
            if frame.stream != stream {
                continue;
            }
            ensure!(frame.kind != kind::RST_STREAM || status.is_some(), "reset: {frame:?}");
            status = status.or(frame.status().filter(|status| *status >= 200));
            if frame.kind == kind::DATA {
                body.extend_from_slice(&frame.payload);
            }
            if frame.ends_stream() {
                return Ok((status.context("a stream without status")?, body));
            }
        }
    }

    /// Whatever the server has to say, until it closes.
    ///
    /// # Errors
    /// When it goes on for ever or says nothing for long.
    pub async fn until_closed(&mut self) -> Result<Vec<Frame>> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await? {
            frames.push(frame);
            ensure!(frames.len() < 100_000, "it goes on for ever");
        }
        Ok(frames)
    }
}

fn pairs(payload: &[u8]) -> Vec<(u16, u32)> {
    let pair = |six: &[u8]| {
        let [i1, i2, v @ ..] = *six.first_chunk::<6>()?;
        Some((u16::from_be_bytes([i1, i2]), u32::from_be_bytes(v)))
    };
    payload.chunks(6).filter_map(pair).collect()
}
