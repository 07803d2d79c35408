//! Clients that make the gateway work for nothing: each ends in a written way, memory stays bounded, and others are
//! served meanwhile.

use std::fs;

use agw_tests::h2_client::{
    Frame, code, continuation, data, flag, frame, headers, kind, ping, priority, reset, settings,
    window_update,
};
use agw_tests::hpack::{field, fields, integer, request};
use agw_tests::{Client, Gateway, H2Client, Script, Upstream};
use anyhow::{Context, Result, ensure};

/// What a flood may add to the gateway's memory.
const GROWTH_MAX_KIB: u64 = 64 * 1024;
/// Frames that go out at once.
const BATCH: usize = 500;

/// A gateway that is flooded, in front of an upstream that answers `/never` never, `/large` with a megabyte, and
/// everything else.
struct Flooded {
    gateway: Gateway,
    upstream: Upstream,
    memory: u64,
}

// === impl Flooded ===

impl Flooded {
    async fn start() -> Result<Self> {
        let upstream = Upstream::start(|request| match request.path.as_str() {
            "/never" => Script::never(),
            "/large" => Script::ok(vec![b'x'; 1 << 20]),
            _ => Script::ok("x"),
        })?;
        let mut gateway = crate::gateway(upstream.address(), "")?;
        assert_eq!(Client::new(gateway.address()?).get("/").await?.status, 200);
        let memory = memory(&mut gateway)?;
        Ok(Flooded { gateway, upstream, memory })
    }

    async fn client(&self, settings: &[(u16, u32)]) -> Result<H2Client> {
        H2Client::handshake(self.gateway.address()?, settings).await
    }

    /// Others are served, the process lives, and has not grown.
    async fn unharmed(&mut self) -> Result<()> {
        assert_eq!(Client::new(self.gateway.address()?).get("/").await?.status, 200);
        let mut client = self.client(&[]).await?;
        client.send(&headers(1, flag::WHOLE, &request("GET", "/"))).await?;
        assert_eq!(client.answer(1).await?.0, 200);
        assert!(!self.gateway.output().contains("panicked"), "{}", self.gateway.output());
        let grown = memory(&mut self.gateway)?.saturating_sub(self.memory);
        assert!(grown < GROWTH_MAX_KIB, "{grown} KiB more");
        Ok(())
    }
}

/// Resident memory in KiB.
fn memory(gateway: &mut Gateway) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{}/status", gateway.process().id()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    Ok(line.trim_end_matches("kB").trim().parse()?)
}

/// Sends frames until all are out or the server closes, while others are served; says what it said at the end.
async fn flood(
    flooded: &Flooded,
    client: &mut H2Client,
    frames: impl Iterator<Item = Vec<u8>>,
) -> Result<Option<Vec<Frame>>> {
    let mut other = Client::new(flooded.gateway.address()?);
    let mut frames = frames.peekable();
    while frames.peek().is_some() {
        let batch: Vec<u8> = frames.by_ref().take(BATCH).flatten().collect();
        if !client.try_send(&batch).await? {
            return client.until_closed().await.map(Some);
        }
        ensure!(other.get("/").await?.status == 200, "another client is not served");
    }
    Ok(None)
}

/// The flood ends the connection with ENHANCE_YOUR_CALM. A reset may overtake the frame that says so.
async fn is_calmed(frames: impl Iterator<Item = Vec<u8>>) -> Result<Flooded> {
    ends(frames, &[code::ENHANCE_YOUR_CALM]).await
}

/// The flood ends the connection, with one of these codes if with any.
async fn ends(frames: impl Iterator<Item = Vec<u8>>, allowed: &[u32]) -> Result<Flooded> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[]).await?;
    let said = match flood(&flooded, &mut client, frames).await? {
        Some(said) => said,
        None => client.until_closed().await?,
    };
    let codes: Vec<_> =
        said.iter().filter(|frame| frame.kind == kind::GOAWAY).filter_map(Frame::code).collect();
    assert!(codes.iter().all(|code| allowed.contains(code)), "{codes:?}");
    flooded.unharmed().await?;
    Ok(flooded)
}

fn streams() -> impl Iterator<Item = u32> {
    (0..10_000).map(|n| 1 + 2 * n)
}

#[tokio::test]
async fn rapid_resets_end_the_connection() -> Result<()> {
    let get = request("GET", "/never");
    let frames = streams().map(|id| [headers(id, flag::WHOLE, &get), reset(id, code::CANCEL)].concat());
    let flooded = is_calmed(frames).await?;
    let reached = flooded.upstream.recorded().len();
    assert!(reached < 2_000, "{reached} of 10,000 went upstream");
    Ok(())
}

#[tokio::test]
async fn streams_that_are_reset_by_the_gateways_own_error_count_as_resets() -> Result<()> {
    // "MadeYouReset": the client makes the server reset, and the bound on open streams never holds.
    let post = request("POST", "/never");
    let frames = streams().map(|id| [headers(id, flag::END_HEADERS, &post), window_update(id, 0)].concat());
    let flooded = ends(frames, &[code::ENHANCE_YOUR_CALM, code::PROTOCOL]).await?;
    let reached = flooded.upstream.recorded().len();
    assert!(reached < 2_000, "{reached} of 10,000 went upstream");
    Ok(())
}

#[tokio::test]
async fn pings_end_the_connection() -> Result<()> {
    is_calmed((0..100_000).map(|_| ping(*b"12345678"))).await.map(drop)
}

#[tokio::test]
async fn settings_end_the_connection() -> Result<()> {
    is_calmed((0..100_000).map(|n| settings(&[(4, 65_535 + n % 2)]))).await.map(drop)
}

#[tokio::test]
async fn empty_settings_end_the_connection() -> Result<()> {
    is_calmed((0..100_000).map(|_| settings(&[]))).await.map(drop)
}

#[tokio::test]
async fn priorities_end_the_connection() -> Result<()> {
    is_calmed((0..100_000).map(|n| priority(1 + 2 * (n % 1000), 0, 7))).await.map(drop)
}

#[tokio::test]
async fn frames_of_unknown_types_end_the_connection() -> Result<()> {
    is_calmed((0..100_000).map(|_| frame(0xee, 0, 0, b"what?"))).await.map(drop)
}

#[tokio::test]
async fn a_head_without_end_is_refused_or_ends_the_connection() -> Result<()> {
    for part in [field("x", vec![b'y'; 16_000]), field("x", "y"), Vec::new()] {
        let mut flooded = Flooded::start().await?;
        let mut client = flooded.client(&[]).await?;
        client.send(&headers(1, flag::END_STREAM, &request("GET", "/"))).await?;
        let frames = (0..20_000).map(|_| continuation(1, flag::NONE, &part));
        let said = match flood(&flooded, &mut client, frames).await? {
            Some(said) => said,
            None => client.until_closed().await?,
        };
        assert!(said.iter().all(|frame| frame.status() != Some(200)), "{said:?}");
        flooded.unharmed().await?;
        assert!(flooded.upstream.recorded().iter().all(|request| !request.headers.contains_key("x")));
    }
    Ok(())
}

#[tokio::test]
async fn a_small_block_that_grows_by_references_is_refused() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[]).await?;
    // Four thousand bytes go into the table once, and are asked for four thousand times.
    let value = [integer(0, 7, 3_900), vec![b'y'; 3_900]].concat();
    let block = [&request("GET", "/")[..], b"\x40\x01x", &value, &[0xbe; 4_000]].concat();
    client.send(&headers(1, flag::WHOLE, &block)).await?;
    let refused = match client.answer(1).await {
        Ok((status, _)) => status == 431,
        // A reset, or the connection's end.
        Err(_) => true,
    };
    assert!(refused);
    flooded.unharmed().await
}

#[tokio::test]
async fn empty_data_takes_no_memory() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[]).await?;
    client.send(&headers(1, flag::END_HEADERS, &request("POST", "/never"))).await?;
    flood(&flooded, &mut client, (0..300_000).map(|_| data(1, flag::NONE, b""))).await?;
    flooded.unharmed().await
}

#[tokio::test]
async fn data_of_one_byte_takes_no_memory() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[]).await?;
    client.send(&headers(1, flag::END_HEADERS, &request("POST", "/never"))).await?;
    flood(&flooded, &mut client, (0..60_000).map(|_| data(1, flag::NONE, b"x"))).await?;
    flooded.unharmed().await
}

#[tokio::test]
async fn windows_that_open_by_one_take_no_memory() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[(4, 0)]).await?;
    client.send(&headers(1, flag::WHOLE, &request("GET", "/large"))).await?;
    flood(&flooded, &mut client, (0..50_000).map(|_| window_update(1, 1))).await?;
    flooded.unharmed().await
}

#[tokio::test]
async fn a_client_that_never_opens_its_window_holds_no_more_than_windows() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[(4, 0)]).await?;
    // A hundred megabytes are asked for.
    let all: Vec<u8> =
        (0..100).flat_map(|n| headers(1 + 2 * n, flag::WHOLE, &request("GET", "/large"))).collect();
    client.send(&all).await?;
    let mut answered = 0;
    while answered < 100 {
        let frame = client.frame().await?.context("closed")?;
        answered += usize::from(frame.status() == Some(200));
    }
    flooded.unharmed().await
}

#[tokio::test]
async fn fields_without_name_are_refused_each_for_itself() -> Result<()> {
    let mut flooded = Flooded::start().await?;
    let mut client = flooded.client(&[]).await?;
    let empty = [request("GET", "/"), fields(&[("", ""); 100])].concat();
    let all = (0..500).map(|n| headers(1 + 2 * n, flag::WHOLE, &empty));
    flood(&flooded, &mut client, all).await?;
    assert!(flooded.upstream.recorded().iter().all(|request| request.headers.len() < 20));
    flooded.unharmed().await
}
