//! The library from the outside in: handlers called as the runtime calls them, and the real runtime in a
//! process of its own, with an agent that keeps what it gets.

mod agent;
mod calls;
mod concurrency;
mod docs;
mod features;
mod flush;
mod http_stack;
mod process;
mod world;
