//! Command line and environment → `Config`, or every fault at once.
