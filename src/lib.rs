//! `RawPacket ─packet─▶ Segment ─tcp─▶ StreamEvent ─http─▶ Message ─exchange─▶ Exchange ─span─▶ Span ─export─▶ OTLP`
//!
//! Every module turns one noun of this sentence into the next:
//!
//! | Module | Turns | Into | May do IO |
//! | --- | --- | --- | --- |
//! | [`capture`] | an interface or a file | [`packet::RawPacket`] | yes |
//! | [`packet`] | `RawPacket` | [`packet::Segment`] | no |
//! | [`tcp`] | `Segment` | [`tcp::StreamEvent`] | no |
//! | [`http`] | `StreamEvent` | [`http::Message`] | no |
//! | [`exchange`] | `Message` | [`exchange::Exchange`] | no |
//! | [`pipeline`] | the five above, assembled | | no |
//! | [`worker`] | a source and a pipeline | a bounded queue of `Exchange`s | yes |
//! | [`span`] | `Exchange` | [`span::Span`] | no |
//! | [`metadata`] | an address | whose it is | yes |
//! | [`export`] | `Span` | OTLP, JSON lines, text | yes |
//!
//! [`config`] resolves the command line and the environment, [`telemetry`] is the agent's own voice,
//! [`agent`] builds all of them and owns their order of start and stop.
//!
//! Inner layers never name outer ones; time enters the core with the packets. `tests/tidy.rs` holds both.

mod admin;
pub mod agent;
pub mod capture;
mod check;
pub mod config;
mod debugging;
pub mod exchange;
pub mod export;
pub mod http;
pub mod metadata;
mod netlink;
pub mod packet;
pub mod pipeline;
mod privileges;
mod serving;
mod signals;
pub mod span;
pub mod tcp;
pub mod telemetry;
pub mod time;
pub mod worker;
