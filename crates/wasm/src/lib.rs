#![doc = include_str!("../README.md")]

mod stream;

pub use stream::{LocalReply, RequestHead, ResponseHead, Stream, StreamInfo, StreamState};
