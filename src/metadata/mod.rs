//! An address → whose it is: which are this machine's, and what stands behind the others in a cluster.

mod book;
mod directory;
mod host;
mod intern;
mod names;
mod network;
mod objects;
mod offline;
mod records;
#[cfg(test)]
mod spans_tests;
mod status;
mod timeline;
mod watches;

pub use directory::Directory;
pub use host::{HostAddresses, NoAddresses};
pub use names::{MetadataConfig, MetadataSource, Names, wait};
pub use network::{Network, Networks};
pub use offline::OfflineError;
pub use status::{MetadataSnapshot, MetadataStatus, Subject};
pub use watches::Scope;
