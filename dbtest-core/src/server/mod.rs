//! Servers: found or started.
