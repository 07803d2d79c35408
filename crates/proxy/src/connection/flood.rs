//! Counts what an HTTP/2 client makes the gateway do for nothing.
//!
//! PING and SETTINGS ask for an answer each, PRIORITY and frames of unknown types for nothing but time, and a stream
//! that is reset before its answer for all the work of a request. h2 bounds the memory that they cost, not their
//! number. Frames are counted by their headers as the bytes come in; their contents are h2's to judge.

use std::cell::Cell;

use tokio::time::Instant;

use super::detect::PREFACE;
use crate::limits::{HTTP2_CONTROL_FRAMES_MAX, HTTP2_FLOOD_WINDOW};

const HEADER_BYTES: usize = 9;
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PUSH_PROMISE: u8 = 5;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

const ENHANCE_YOUR_CALM: u32 = 11;

/// What one connection's client has done of late.
pub(super) struct FloodMeter {
    control_frames: Window,
    resets: Window,
    exceeded: Cell<bool>,
}

/// So many within the window of time that the first began.
struct Window {
    max: usize,
    count: Cell<usize>,
    since: Cell<Option<Instant>>,
}

/// Finds frame headers in the bytes of a connection, however they are cut.
pub(super) struct FrameScanner {
    /// Bytes that belong to the preface or to a frame's contents.
    skip: usize,
    header: [u8; HEADER_BYTES],
    filled: usize,
    /// Of the last HEADERS frame.
    last_stream: u32,
}

// === impl FloodMeter ===

impl FloodMeter {
    pub(super) fn new(resets_max: usize) -> Self {
        FloodMeter {
            control_frames: Window::new(HTTP2_CONTROL_FRAMES_MAX),
            resets: Window::new(resets_max),
            exceeded: Cell::new(false),
        }
    }

    /// A stream ended without answer because the client reset it.
    pub(super) fn stream_was_reset(&self) {
        if self.resets.exceeded() {
            self.exceeded.set(true);
        }
    }

    fn control_frame_came(&self) {
        if self.control_frames.exceeded() {
            self.exceeded.set(true);
        }
    }

    /// Whether the connection should be closed.
    pub(super) fn is_exceeded(&self) -> bool {
        self.exceeded.get()
    }
}

// === impl Window ===

impl Window {
    fn new(max: usize) -> Self {
        Window { max, count: Cell::new(0), since: Cell::new(None) }
    }

    /// Counts one more. The time is asked for only at the first and at each that would be too many.
    fn exceeded(&self) -> bool {
        let count = self.count.get() + 1;
        self.count.set(count);
        let Some(since) = self.since.get() else {
            self.since.set(Some(Instant::now()));
            return false;
        };
        if count <= self.max {
            return false;
        }
        let now = Instant::now();
        if now.duration_since(since) < HTTP2_FLOOD_WINDOW {
            return true;
        }
        self.since.set(Some(now));
        self.count.set(1);
        false
    }
}

// === impl FrameScanner ===

impl FrameScanner {
    /// At the very beginning of a connection.
    pub(super) fn new() -> Self {
        FrameScanner { skip: PREFACE.len(), header: [0; HEADER_BYTES], filled: 0, last_stream: 0 }
    }

    /// Counts the frames that begin in `bytes`.
    pub(super) fn scan(&mut self, mut bytes: &[u8], meter: &FloodMeter) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = bytes.get(skipped..).unwrap_or_default();
            for &byte in bytes.iter().take(HEADER_BYTES - self.filled) {
                if let Some(place) = self.header.get_mut(self.filled) {
                    *place = byte;
                }
                self.filled += 1;
                bytes = bytes.get(1..).unwrap_or_default();
            }
            if self.filled == HEADER_BYTES {
                self.filled = 0;
                self.frame(meter);
            }
        }
    }

    fn frame(&mut self, meter: &FloodMeter) {
        let [length @ .., kind, _flags, s1, s2, s3, s4] = self.header;
        let [l1, l2, l3] = length;
        self.skip = u32::from_be_bytes([0, l1, l2, l3]) as usize;
        match kind {
            HEADERS => self.last_stream = u32::from_be_bytes([s1, s2, s3, s4]) & 0x7fff_ffff,
            DATA | RST_STREAM | PUSH_PROMISE | GOAWAY | WINDOW_UPDATE | CONTINUATION => {}
            _ => meter.control_frame_came(),
        }
    }

    /// The frame that says why the connection ends.
    pub(super) fn goaway(&self) -> [u8; HEADER_BYTES + 8] {
        let mut frame = [0; HEADER_BYTES + 8];
        let parts: [&[u8]; 5] = [
            &[0, 0, 8, GOAWAY, 0],
            &[0; 4],
            &self.last_stream.to_be_bytes(),
            &ENHANCE_YOUR_CALM.to_be_bytes(),
            &[],
        ];
        for (place, byte) in frame.iter_mut().zip(parts.concat()) {
            *place = byte;
        }
        frame
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, contents: &[u8]) -> Vec<u8> {
        let length = (contents.len() as u32).to_be_bytes();
        [&length[1..], &[kind, 0], &stream.to_be_bytes(), contents].concat()
    }

    #[tokio::test(start_paused = true)]
    async fn frames_are_counted_however_they_are_cut() {
        let mut bytes = PREFACE.to_vec();
        bytes.extend(frame(4, 0, &[]));
        bytes.extend(frame(HEADERS, 7, b"headers that look like \0\0\0\x06\0\0\0\0\0 frames"));
        bytes.extend(frame(6, 0, &[6; 8]));
        bytes.extend(frame(DATA, 7, &[6; 300]));
        bytes.extend(frame(0xee, 0, &[6; 3]));
        for cut in 0..bytes.len() {
            let (meter, mut scanner) = (FloodMeter::new(1), FrameScanner::new());
            scanner.scan(&bytes[..cut], &meter);
            scanner.scan(&bytes[cut..], &meter);
            assert_eq!(meter.control_frames.count.get(), 3, "cut at {cut}");
            assert_eq!(scanner.last_stream, 7);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn many_are_a_flood_only_if_they_come_fast() {
        let meter = FloodMeter::new(5);
        for _ in 0..100 {
            for _ in 0..5 {
                meter.stream_was_reset();
            }
            tokio::time::advance(HTTP2_FLOOD_WINDOW).await;
        }
        assert!(!meter.is_exceeded());
        for _ in 0..6 {
            meter.stream_was_reset();
        }
        assert!(meter.is_exceeded());
    }

    #[test]
    fn a_goaway_names_the_last_stream_and_the_reason() {
        let mut scanner = FrameScanner::new();
        scanner.last_stream = 0x0102_0304;
        let expected = [0, 0, 8, 7, 0, 0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 11];
        assert_eq!(scanner.goaway(), expected);
    }
}
