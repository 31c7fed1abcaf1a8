//! The library from the outside in: handlers called as the runtime calls them, and the real runtime in a
//! process of its own, with an agent that keeps what it gets.

mod agent;
mod api;
mod calls;
mod concurrency;
mod data_streams;
mod docs;
mod features;
mod flush;
mod http_stack;
mod partial;
mod process;
mod universal;
mod world;
