//! `StreamEvent` → `Message`: which bytes are HTTP, where each message begins and ends.

mod head;

pub use head::{Headers, RequestHead, ResponseHead, Version};
