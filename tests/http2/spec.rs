//! How a case of the list is run: its steps, and what must come of them.

use std::net::SocketAddr;

use agw_tests::H2Client;
use agw_tests::h2_client::{code, flag, frame, kind, ping};
use anyhow::{Context, Result, bail, ensure};

/// Asked at the end of cases that shall do no harm.
const ALIVE: [u8; 8] = *b"alive?!?";

/// A case, numbered as h2spec numbers it.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) settings: &'static [(u16, u32)],
    pub(crate) steps: Vec<Step>,
    pub(crate) expect: Expect,
}

/// What the client does after the handshake.
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Waits until the stream's answer is whole, and its connection with it.
    Answer(u32),
    /// Waits for DATA of so many bytes on stream 1.
    Data(usize),
}

/// What must come. The standard allows to close the connection for any error. As with h2spec, that passes whatever
/// code its GOAWAY had: h2 says PROTOCOL_ERROR of most.
#[derive(Debug)]
pub(crate) enum Expect {
    /// The end of the connection; the codes are those of the standard, for the reader.
    Connection(&'static [u32]),
    /// The same, or RST_STREAM with one of these codes.
    Stream(&'static [u32]),
    /// The same, or a status that says that the client is at fault (RFC 9113, 8.1.1).
    Malformed,
    /// 200 on this stream.
    Ok(u32),
    /// Nothing, and the connection lives.
    Alive,
    /// An error, or nothing that reaches anyone: the standard has changed, or the case says why.
    AliveOrError,
}

pub(crate) const PROTOCOL: &[u32] = &[code::PROTOCOL];
pub(crate) const STREAM_CLOSED: &[u32] = &[code::STREAM_CLOSED];
pub(crate) const CLOSED_OR_PROTOCOL: &[u32] = &[code::STREAM_CLOSED, code::PROTOCOL];
pub(crate) const FRAME_SIZE: &[u32] = &[code::FRAME_SIZE];
pub(crate) const FLOW_CONTROL: &[u32] = &[code::FLOW_CONTROL];
pub(crate) const COMPRESSION: &[u32] = &[code::COMPRESSION];

/// A case of one step.
pub(crate) fn spec(name: &'static str, expect: Expect, bytes: impl IntoIterator<Item = Vec<u8>>) -> Spec {
    let bytes = bytes.into_iter().collect::<Vec<_>>().concat();
    Spec { name, settings: &[], steps: vec![Step::Send(bytes)], expect }
}

/// A case of several.
pub(crate) fn steps(name: &'static str, expect: Expect, steps: impl IntoIterator<Item = Step>) -> Spec {
    Spec { name, settings: &[], steps: steps.into_iter().collect(), expect }
}

impl Spec {
    /// The same with settings in the handshake.
    pub(crate) fn settings(mut self, settings: &'static [(u16, u32)]) -> Self {
        self.settings = settings;
        self
    }

    /// Runs it on a connection of its own.
    pub(crate) async fn run(&self, server: SocketAddr) -> Result<()> {
        let mut client = H2Client::handshake(server, self.settings).await?;
        for step in &self.steps {
            match step {
                // The server may have closed in the middle of the bytes.
                Step::Send(bytes) => drop(client.try_send(bytes).await?),
                Step::Answer(stream) => ensure!(client.answer(*stream).await?.0 == 200, "not 200"),
                Step::Data(bytes) => data(&mut client, *bytes).await?,
            }
        }
        match self.expect {
            Expect::Connection(codes) => error(&mut client, codes, false, false).await,
            Expect::Stream(codes) => error(&mut client, codes, true, false).await,
            Expect::Malformed => error(&mut client, PROTOCOL, true, true).await,
            Expect::Ok(stream) => {
                let (status, _) = client.answer(stream).await?;
                ensure!(status == 200, "status {status}");
                Ok(())
            }
            Expect::Alive => alive(&mut client).await,
            Expect::AliveOrError => match alive(&mut client).await {
                Ok(()) => Ok(()),
                Err(_) => error(&mut client, PROTOCOL, true, false).await,
            },
        }
    }
}

async fn alive(client: &mut H2Client) -> Result<()> {
    client.send(&ping(ALIVE)).await?;
    while let Some(frame) = client.frame().await? {
        match frame.kind {
            kind::PING if frame.flags & flag::ACK != 0 && frame.payload == ALIVE => return Ok(()),
            kind::GOAWAY | kind::RST_STREAM => bail!("{frame:?}"),
            _ => {}
        }
    }
    bail!("closed")
}

async fn data(client: &mut H2Client, bytes: usize) -> Result<()> {
    loop {
        let frame = client.frame().await?.context("closed before DATA")?;
        ensure!(!matches!(frame.kind, kind::GOAWAY | kind::RST_STREAM), "{frame:?}");
        if frame.kind == kind::DATA && !frame.payload.is_empty() {
            ensure!(frame.payload.len() == bytes, "{} bytes of DATA", frame.payload.len());
            return Ok(());
        }
    }
}

/// Waits for the error. An answer that was under way may come first, but not after the question whether all is well.
async fn error(client: &mut H2Client, codes: &[u32], of_stream: bool, by_status: bool) -> Result<()> {
    // Frames of streams may be written after answers to PING, but not after several of them.
    let mut asked = 0;
    client.try_send(&ping([0; 8])).await?;
    while let Some(frame) = client.frame().await? {
        match frame.kind {
            kind::GOAWAY => {
                client.until_closed().await?;
                return Ok(());
            }
            kind::RST_STREAM if of_stream => {
                let code = frame.code().context("a code")?;
                ensure!(codes.contains(&code), "code {code} in {frame:?}");
                return Ok(());
            }
            kind::RST_STREAM => {}
            kind::HEADERS if by_status && matches!(frame.status(), Some(400..=499 | 501)) => return Ok(()),
            kind::HEADERS if by_status => bail!("answered {:?}", frame.status()),
            kind::PING if frame.payload == [0; 8] => {
                asked += 1;
                ensure!(asked < 20, "the server saw no error");
                tokio::task::yield_now().await;
                client.try_send(&ping([0; 8])).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A frame whose head says another length than its contents have is written by hand.
pub(crate) fn padded(kind_of: u8, flags: u8, stream: u32, padding: u8, contents: &[u8]) -> Vec<u8> {
    let payload = [&[padding], contents, &vec![0; usize::from(padding)]].concat();
    frame(kind_of, flags | flag::PADDED, stream, &payload)
}
