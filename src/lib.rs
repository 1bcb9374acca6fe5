//! Holdfast makes PostgreSQL recoverable to any moment, and proves that it can.

pub mod agent;
pub mod cli;
pub mod codec;
pub mod config;
pub mod operations;
pub mod pg;
pub mod pgwire;
pub mod repository;
pub mod resources;
pub mod storage;
pub mod sys;
