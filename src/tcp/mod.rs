//! `Segment` → `StreamEvent`: both directions of every connection in stream order, every byte once.
