//! PIN arithmetic on clear values. Only `hsm::soft` imports it.
