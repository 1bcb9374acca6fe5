//! Every parser of foreign bytes, fuzzed: whatever stands in a file, an object or a message, it is refused or understood.
//!
//! The seeds are what real programs write. The parsers of what a server sends are fuzzed beside them, in `pgwire`.

#[path = "fuzz/cluster.rs"]
mod cluster;
#[path = "fuzz/objects.rs"]
mod objects;
#[path = "fuzz/redis.rs"]
mod redis;
#[path = "fuzz/texts.rs"]
mod texts;
