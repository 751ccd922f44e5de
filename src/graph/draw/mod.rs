//! What is drawn: the graph, or the part of it that some machines lead to, with what the
//! emulators at hand have of it. As data ([`Drawing::json`]) and as a picture
//! ([`Drawing::dot`], [`Drawing::svg`]).
//!
//! [`state`] says how each part is doing, [`picture`] decides what shares a box, [`layout`]
//! where things stand; [`dot`] and [`svg`] write it down. Nothing here asks an emulator anything.

mod dot;
mod layout;
mod legend;
mod picture;
mod state;
mod svg;
#[cfg(test)]
mod tests;

use std::collections::HashSet;
use std::path::Path as FilePath;

use petgraph::Direction::Outgoing;
use petgraph::graph::{EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;
use serde_json::{Value, json};

pub use state::State;
use state::States;

use super::model::{EdgeKind, Kind, Model, Offer};
use super::node::Plug;
use super::path::Path;
use crate::qemu::{Capabilities, Version};

/// A node of the drawing.
#[derive(Debug, Clone)]
struct DrawnNode {
    name: String,
    kind: Kind,
    /// Which emulators have it at the end of some path from a machine.
    emulators: Vec<usize>,
}

/// An edge of the drawing.
#[derive(Debug, Clone)]
struct DrawnEdge {
    kind: EdgeKind,
    /// Places in [`Drawing::nodes`].
    from: usize,
    to: usize,
    /// The name of the variant, empty for the plain edge.
    variant: String,
    /// What it adds to the command line.
    options: Vec<String>,
    /// Which emulators have it on some path from a machine.
    emulators: Vec<usize>,
}

/// The part of a graph that is shown, in the order of names, so that equal graphs make
/// equal files.
#[derive(Debug, Clone, Default)]
pub struct Drawing {
    nodes: Vec<DrawnNode>,
    edges: Vec<DrawnEdge>,
    /// How the emulators are called; empty if nobody knows what is available.
    emulators: Vec<String>,
    /// How a run went, if it is drawn after one.
    after: Option<States>,
}

impl Model {
    /// The drawing of what the machines that `wanted` accepts lead to, and, when it accepts
    /// all, of what no machine leads to as well. `emulators` are the emulators at hand, by their
    /// programs, and what they have; without any, nothing is known to be available or not.
    pub fn drawing(
        &self,
        emulators: &[(String, &Capabilities)],
        wanted: impl Fn(&str) -> bool,
    ) -> Drawing {
        let machines: Vec<_> =
            self.graph.node_indices().filter(|&n| self.graph[n].kind == Kind::Machine).collect();
        let (starts, others): (Vec<_>, Vec<_>) =
            machines.into_iter().partition(|&node| wanted(self.graph[node].name));
        let reach = |may: &dyn Fn(EdgeIndex) -> bool, starts: Vec<NodeIndex>| {
            let mut reached = vec![false; self.graph.node_count()];
            let mut open = starts;
            while let Some(node) = open.pop() {
                if !std::mem::replace(&mut reached[node.index()], true) {
                    let out = self.graph.edges_directed(node, Outgoing);
                    open.extend(out.filter(|edge| may(edge.id())).map(|edge| edge.target()));
                }
            }
            reached
        };
        /// The nodes that one emulator has on some path, and the edges that it can take.
        struct Has {
            nodes: Vec<bool>,
            edges: Vec<bool>,
        }
        let shown = match others.is_empty() {
            true => vec![true; self.graph.node_count()],
            false => reach(&|_| true, starts.clone()),
        };
        let has: Vec<_> = emulators
            .iter()
            .map(|(emulator, capabilities)| {
                let has = self.availability_on(capabilities, FilePath::new(emulator));
                let starts = starts.iter().copied().filter(|n| has.nodes[n.index()]).collect();
                let nodes = reach(&|edge| has.edges[edge.index()], starts);
                Has { nodes, edges: has.edges.clone() }
            })
            .collect();
        let which = |has_it: &dyn Fn(&Has) -> bool| -> Vec<usize> {
            (0..has.len()).filter(|&number| has_it(&has[number])).collect()
        };

        let mut order: Vec<_> = self.graph.node_indices().filter(|n| shown[n.index()]).collect();
        order.sort_by_key(|&node| self.graph[node].name);
        let mut place = vec![0; self.graph.node_count()];
        for (number, node) in order.iter().enumerate() {
            place[node.index()] = number;
        }
        let nodes = order.iter().map(|node| DrawnNode {
            name: self.graph[*node].name.to_owned(),
            kind: self.graph[*node].kind,
            emulators: which(&|has| has.nodes[node.index()]),
        });
        let edges = order.iter().flat_map(|node| &self.out[node.index()]).map(|&id| {
            let (from, to) = self.graph.edge_endpoints(id).expect("an edge of this graph");
            let edge = &self.graph[id];
            DrawnEdge {
                kind: edge.kind,
                from: place[from.index()],
                to: place[to.index()],
                variant: edge.offer.name.to_owned(),
                options: match self.graph[to].kind {
                    Kind::Test => Vec::new(),
                    _ => {
                        let Offer { args, variant, .. } = &edge.offer;
                        args.words(self.graph[to].name, variant, Plug::NONE, Version::default())
                    }
                },
                emulators: which(&|has| has.nodes[from.index()] && has.edges[id.index()]),
            }
        });
        Drawing {
            nodes: nodes.collect(),
            edges: edges.collect(),
            emulators: emulators.iter().map(|(name, _)| name.clone()).collect(),
            after: None,
        }
    }
}

impl Drawing {
    /// Whether nothing is drawn.
    pub fn is_empty(&self) -> bool {
        self.nodes.is_empty()
    }

    /// Only what is on one of these paths of the graph.
    pub fn of_paths(self, paths: impl Iterator<Item = Path>) -> Self {
        let (mut nodes, mut edges) = (HashSet::new(), HashSet::new());
        for path in paths {
            nodes.extend(path.nodes());
            edges.extend(path.edge_names());
        }
        let is_kept: Vec<bool> =
            self.nodes.iter().map(|node| nodes.contains(node.name.as_str())).collect();
        let mut places = Vec::with_capacity(is_kept.len());
        let mut next = 0;
        for is_kept in &is_kept {
            places.push(next);
            next += usize::from(*is_kept);
        }
        let name = |place: usize| self.nodes[place].name.as_str();
        let is_on_path = |edge: &&DrawnEdge| {
            edges.contains(&(name(edge.from), name(edge.to), edge.variant.as_str()))
        };
        let kept = self.edges.iter().filter(is_on_path).cloned();
        let edges =
            kept.map(|edge| DrawnEdge { from: places[edge.from], to: places[edge.to], ..edge });
        let edges = edges.collect();
        let kept = self.nodes.into_iter().zip(is_kept).filter(|(_, is_kept)| *is_kept);
        Self { nodes: kept.map(|(node, _)| node).collect(), edges, ..self }
    }

    /// The drawing as data: `emulators`, `nodes` and `edges`. `available` is null, and
    /// `emulators` empty, where no emulator was asked; `variant` is null for a plain edge.
    pub fn json(&self) -> Value {
        let available = |has: &[usize]| (!self.emulators.is_empty()).then_some(!has.is_empty());
        let names = |has: &[usize]| -> Vec<&str> {
            has.iter().map(|&number| self.emulators[number].as_str()).collect()
        };
        let node = |node: &DrawnNode| {
            json!({
                "name": node.name,
                "kind": node.kind.word(),
                "available": available(&node.emulators),
                "emulators": names(&node.emulators),
            })
        };
        let edge = |edge: &DrawnEdge| {
            json!({
                "kind": edge.kind.word(),
                "from": self.nodes[edge.from].name,
                "to": self.nodes[edge.to].name,
                "variant": (!edge.variant.is_empty()).then_some(&edge.variant),
                "options": edge.options,
                "available": available(&edge.emulators),
                "emulators": names(&edge.emulators),
            })
        };
        json!({
            "emulators": self.emulators,
            "nodes": self.nodes.iter().map(node).collect::<Vec<_>>(),
            "edges": self.edges.iter().map(edge).collect::<Vec<_>>(),
        })
    }
}
