//! What a running machine tells of itself, without anybody having described it: its byte
//! order, its RAM, its devices with their registers, interrupt lines, buses and properties.
//!
//! One start of a machine answers all of it; [`Discoverer::discover_all`] starts many at a
//! time. The answers are kept in the cache, a file an emulator, so that
//! [`Discoverer::described`] costs no start, and only reads what is asked for.
//!
//! It knows nothing of what a device does: it tells types, addresses and names.

mod description;
mod discoverer;
mod interview;
mod mtree;
mod name;
mod needs;
mod pluggable;
mod plugged;
mod store;
mod tree;
mod types;

use std::sync::Arc;

pub use description::{
    Access, Description, Found, FoundBus, FoundRam, Inputs, Outputs, Piece, Property, RamPiece,
    Refusal, Region, Space,
};
pub use discoverer::{Discoverer, Wanted, is_versioned, machine_types};
pub use name::Name;
pub(crate) use needs::config as bare_machine;
pub(crate) use needs::give_nic;
pub use pluggable::{Pluggable, Takes};
pub use plugged::registers_of;
pub use types::Types;

/// What is known of a machine type: what it has, or why it does not start.
pub type Described = Result<Arc<Description>, Arc<Refusal>>;
