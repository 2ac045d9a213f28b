//! An address → whose it is.

mod host;

pub use host::{HostAddresses, NoAddresses};
