//! What core does without a server, measured: see `benches/pure.rs`.
