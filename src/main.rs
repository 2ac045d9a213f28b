//! Arguments → `Config` → logging → run → exit code.

fn main() {}
