//! The agent's own voice: logs, progress, statistics, the summary at the end.
