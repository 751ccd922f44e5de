//! The graph: what nodes and edges are, how they are declared, and what is asked of them:
//! every path from a machine to a test, what is wrong with the graph, why a path is not
//! there, and a picture.
//!
//! An edge is a trait implementation ([`Contains`], [`Produces`], [`Consumes`]), so the
//! compiler checks that what one node offers is what the next takes. Nothing here knows
//! what any node does.

mod args;
mod check;
mod coverage;
mod decl;
mod discovered;
mod draw;
mod family;
mod guest;
mod model;
mod node;
mod path;
mod plugged;
#[cfg(test)]
pub(crate) mod test_graphs;
mod unknown;
mod walk;
mod why;

pub use args::{Addition, DeviceOption, QemuArgs, When};
pub use check::Finding;
pub use coverage::{Coverage, Reach};
pub use decl::{Declarations, EdgeDecl, MachineDecl, NodeDecl, Object, TestDecl};
pub use discovered::{Discovered, DiscoveredMachine, Discovery, DiscoveryDecl, FoundDevice};
pub use draw::{Drawing, State};
pub use family::{Member, aliases, names};
pub use guest::{BootDecl, Boots};
pub use model::{Availability, Edge, EdgeKind, Kind, Model, NodeEntry, Offer};
pub use node::{Consumes, Contains, Instance, Machine, Node, Plug, Produces, Setup, Site, Variant};
pub use path::Path;
pub use plugged::{BusKind, DeviceType, PlugArgs, PluggedAnywhere, PluggedIn};
pub use unknown::Unknown;
pub use walk::Walk;
pub use why::{Answer, Lack, Subject};
