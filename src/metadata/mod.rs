//! An address → whose it is: which are this machine's, and what stands behind the others in a cluster.

mod book;
mod directory;
mod host;
mod intern;
mod network;
mod objects;
mod records;
mod status;
mod timeline;
mod watches;

pub use directory::Directory;
pub use host::{HostAddresses, NoAddresses};
pub use network::{Network, Networks};
pub use status::{MetadataSnapshot, MetadataStatus, Subject};
pub use watches::{Scope, Watches, client, follow};
