//! An address → whose it is.

mod host;
mod network;

pub use host::{HostAddresses, NoAddresses};
pub use network::{Network, Networks};
