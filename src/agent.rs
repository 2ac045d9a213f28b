//! `Config` → a running agent: builds every part, owns every queue and the order of start and stop.
