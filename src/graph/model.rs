//! The graph as a `petgraph` graph, and which of it an emulator has.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;

use petgraph::graph::{DiGraph, EdgeIndex, NodeIndex};
use petgraph::visit::EdgeRef;

use super::args::{Addition, QemuArgs};
use super::decl::{Declarations, Object, TestDecl};
use super::discovered::{DiscoveryDecl, Drives, Find};
use super::guest::Boots;
use super::node::{Plug, Setup, Site};
use super::plugged::PluggedType;
use crate::Result;
use crate::guests::Guest;
use crate::qemu::Capabilities;
use crate::qemu::discovery::Description;

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Where paths begin.
    Machine,
    /// A device, or a bus on a device.
    Driver,
    /// What drivers are used through.
    Interface,
    /// Where paths end.
    Test,
    /// A name that edges mention and nobody declares.
    Undeclared,
}

impl Kind {
    /// The kind as a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Driver => "driver",
            Self::Interface => "interface",
            Self::Test => "test",
            Self::Undeclared => "undeclared",
        }
    }
}

/// The kind of an edge, seen in the direction in which a path takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum EdgeKind {
    /// The second is part of the first.
    Contains,
    /// The first can be used through the second.
    Produces,
    /// The second is plugged into the first, or a test of it.
    ConsumedBy,
}

impl EdgeKind {
    /// The kind as QEMU's framework prints it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Contains => "contains",
            Self::Produces => "produces",
            Self::ConsumedBy => "consumed-by",
        }
    }
}

/// One of the parallel edges that a declaration makes.
#[derive(Debug, Clone, Copy)]
pub struct Offer {
    /// The name of the variant, empty for the plain edge.
    pub name: &'static str,
    /// What it adds to the command line.
    pub args: QemuArgs,
    /// What the variant adds to that.
    pub variant: Addition,
    /// Where what it leads to takes devices.
    pub plug: Plug,
}

impl Offer {
    /// The plain edge that adds nothing.
    pub const NOTHING: Self =
        Self { name: "", args: QemuArgs::NONE, variant: Addition::NONE, plug: Plug::NONE };
}

/// What takes possession of a machine that has just started.
pub(super) type BootFn = fn(&Site) -> Result<Object>;

/// How a path begins at a machine.
#[derive(Clone, Copy)]
pub(super) enum Boot {
    /// As its declaration says.
    Declared(Setup, BootFn),
    /// As it described itself.
    Discovered,
}

/// A node of the graph.
pub struct NodeEntry {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// How often it was declared; a sound graph declares everything once.
    pub declared: usize,
    /// The device type that its name is an alias of, or its name.
    pub device: &'static str,
    /// The interface as which a path counts it, where that is another.
    pub counts_as: Option<&'static str>,
    /// Whether it is recognised on machines that describe themselves.
    pub recognised: bool,
    /// Whether device types that emulators describe are plugged into it.
    pub takes_types: bool,
    /// Whether it drives any device, and knows nothing of it.
    pub is_generic: bool,
    /// The source file of a test.
    pub file: Option<&'static str>,
    pub(super) boot: Option<Boot>,
}

/// What a path does at an edge.
#[derive(Clone)]
pub(super) enum Step {
    /// Goes on to the next object; the number says by which offer of the declaration.
    Follow(fn(&Object, &Site, usize) -> Result<Object>, usize),
    /// Goes on to a device that was discovered.
    Find(Find),
    /// Goes on to a device of a type that was discovered.
    Plug(PluggedType),
    /// Goes on to a way in which the machine starts images.
    Boot(Boots),
    /// Ends with a test.
    Run(&'static TestDecl),
    /// Ends with a guest, which is a test that runs on the machine's CPUs.
    Guest(Arc<Guest>),
}

/// An edge of the graph.
pub struct Edge {
    /// Its kind.
    pub kind: EdgeKind,
    /// Its variant and arguments.
    pub offer: Offer,
    pub(super) step: Step,
    /// The emulator on whose machine it was discovered; `None` if it was declared.
    pub(super) emulator: Option<PathBuf>,
}

impl Edge {
    /// Where a path that was at `plug` and takes this edge plugs in its next device. A device
    /// says itself where it takes others.
    pub(super) fn plug_after(&self, plug: Plug) -> Plug {
        match self.kind {
            EdgeKind::ConsumedBy => self.offer.plug,
            EdgeKind::Contains | EdgeKind::Produces => plug.with(self.offer.plug),
        }
    }
}

/// The graph of everything declared, whatever QEMU there is.
pub struct Model {
    pub(super) graph: DiGraph<NodeEntry, Edge>,
    pub(super) index: HashMap<&'static str, NodeIndex>,
    /// The edges out of each node in the order in which paths are listed.
    pub(super) out: Vec<Vec<EdgeIndex>>,
    /// What each machine said of itself, by the emulator that was asked.
    pub(super) described: HashMap<NodeIndex, HashMap<PathBuf, Arc<Description>>>,
}

/// What one emulator has of a model: for every node whether it can be there at all, and
/// for every edge whether it can be taken.
#[derive(Debug)]
pub struct Availability {
    pub(super) nodes: Vec<bool>,
    pub(super) edges: Vec<bool>,
}

impl Model {
    /// The graph of everything registered in this program.
    pub fn registered() -> Self {
        let mut model = Self::new(&Declarations::registered());
        for driver in inventory::iter::<DiscoveryDecl> {
            for name in driver.to {
                let entry = model.node_entry(name);
                entry.recognised = true;
                entry.is_generic = driver.is_generic;
            }
            if let Drives::Types(sockets) = driver.drives {
                for name in sockets.from {
                    model.node_entry(name).takes_types = true;
                }
            }
        }
        model
    }

    /// The graph of these declarations. A graph that is not sound is built all the same;
    /// [`Model::check`] says what is wrong with it.
    pub fn new(declarations: &Declarations) -> Self {
        let mut model = Self {
            graph: DiGraph::new(),
            index: HashMap::new(),
            out: Vec::new(),
            described: HashMap::new(),
        };
        for machine in &declarations.machines {
            for name in machine.names {
                let entry = model.declare(name, Kind::Machine);
                entry.boot = Some(Boot::Declared(machine.setup, machine.boot));
            }
        }
        for node in &declarations.nodes {
            let kind = if node.interface { Kind::Interface } else { Kind::Driver };
            for name in node.names {
                let alias = node.aliases.iter().find(|(alias, _)| alias == name);
                let entry = model.declare(name, kind);
                entry.device = alias.map_or(name, |(_, device)| device);
                entry.counts_as = node.counts_as;
            }
        }
        for edge in &declarations.edges {
            for from in edge.from {
                for to in edge.to {
                    for (number, offer) in (edge.offers)().into_iter().enumerate() {
                        let step = Step::Follow(edge.follow, number);
                        model.connect(
                            from,
                            to,
                            Edge { kind: edge.kind, offer, step, emulator: None },
                        );
                    }
                }
            }
        }
        for test in &declarations.tests {
            let entry = model.declare(test.name, Kind::Test);
            entry.file = Some(test.file);
            for of in test.of {
                let (kind, step) = (EdgeKind::ConsumedBy, Step::Run(test));
                let offer = Offer { args: test.args, ..Offer::NOTHING };
                model.connect(of, test.name, Edge { kind, offer, step, emulator: None });
            }
        }
        model.sort();
        model
    }

    fn node(&mut self, name: &'static str) -> NodeIndex {
        *self.index.entry(name).or_insert_with(|| {
            self.graph.add_node(NodeEntry {
                name,
                kind: Kind::Undeclared,
                declared: 0,
                device: name,
                counts_as: None,
                recognised: false,
                takes_types: false,
                is_generic: false,
                file: None,
                boot: None,
            })
        })
    }

    fn node_entry(&mut self, name: &'static str) -> &mut NodeEntry {
        let node = self.node(name);
        &mut self.graph[node]
    }

    pub(super) fn declare(&mut self, name: &'static str, kind: Kind) -> &mut NodeEntry {
        let node = self.node(name);
        let entry = &mut self.graph[node];
        entry.kind = kind;
        entry.declared += 1;
        entry
    }

    pub(super) fn connect(&mut self, from: &'static str, to: &'static str, edge: Edge) {
        let (from, to) = (self.node(from), self.node(to));
        self.graph.add_edge(from, to, edge);
    }

    /// Fixes the order of paths: the link order of declarations is nobody's choice, so
    /// edges are taken by the names of the nodes they lead to, plain ones first.
    pub(super) fn sort(&mut self) {
        let graph = &self.graph;
        self.out = graph
            .node_indices()
            .map(|node| {
                let mut edges: Vec<_> = graph.edges(node).collect();
                edges.sort_by_key(|edge| (graph[edge.target()].name, edge.weight().offer.name));
                edges.iter().map(EdgeRef::id).collect()
            })
            .collect();
    }

    /// The node of this name.
    pub fn find(&self, name: &str) -> Option<&NodeEntry> {
        self.index.get(name).map(|&node| &self.graph[node])
    }

    /// All nodes, in the order of their names.
    pub fn nodes(&self) -> impl Iterator<Item = &NodeEntry> {
        let sorted: BTreeMap<_, _> = self.index.iter().collect();
        sorted.into_values().map(|&node| &self.graph[node])
    }

    /// All edges as (from, edge, to), in the order of their nodes' names.
    pub fn edges(&self) -> impl Iterator<Item = (&NodeEntry, &Edge, &NodeEntry)> {
        let sorted: BTreeMap<_, _> = self.index.iter().collect();
        sorted.into_values().flat_map(|node| &self.out[node.index()]).map(|&edge| {
            let (from, to) = self.graph.edge_endpoints(edge).expect("an edge of this graph");
            (&self.graph[from], &self.graph[edge], &self.graph[to])
        })
    }

    /// What an emulator with these capabilities has of the graph: its machines, and the
    /// devices that edges plug in. What is contained or produced comes with its owner.
    /// Nothing that was discovered is there.
    pub fn availability(&self, has: &Capabilities) -> Arc<Availability> {
        self.availability_on(has, FilePath::new(""))
    }

    /// What the emulator of this program has of the graph: as [`Model::availability`] says, and
    /// what was discovered on its machines.
    pub fn availability_on(&self, has: &Capabilities, emulator: &FilePath) -> Arc<Availability> {
        let edges: Vec<bool> = self
            .graph
            .edge_references()
            .map(|edge| {
                let here = edge.weight().emulator.as_deref().is_none_or(|it| it == emulator);
                here && self.edge_lacks(edge.id(), has).is_none()
            })
            .collect();
        let nodes = self
            .graph
            .node_indices()
            .map(|node| {
                let entry = &self.graph[node];
                let mut into = self.graph.edges_directed(node, petgraph::Incoming).peekable();
                match entry.kind {
                    Kind::Machine => has.has_machine(entry.name),
                    _ => into.peek().is_none() || into.any(|edge| edges[edge.id().index()]),
                }
            })
            .collect();
        Arc::new(Availability { nodes, edges })
    }

    /// The device type that an edge needs and this emulator lacks.
    pub(super) fn edge_lacks(&self, edge: EdgeIndex, has: &Capabilities) -> Option<&'static str> {
        let (_, to) = self.graph.edge_endpoints(edge).expect("an edge of this graph");
        let device = self.graph[edge].offer.args.device_name(self.graph[to].name)?;
        let device = self.find(device).map_or(device, |node| node.device);
        (!has.has_device(device)).then_some(device)
    }

    /// For every node whether a test can be reached from it along edges that `may` lets
    /// through. A walk that keeps to these nodes runs into no dead end that it could see.
    pub(super) fn leads_to_test(&self, may: impl Fn(EdgeIndex) -> bool) -> Vec<bool> {
        let mut leads = vec![false; self.graph.node_count()];
        let mut open: Vec<NodeIndex> =
            self.graph.node_indices().filter(|&node| self.graph[node].kind == Kind::Test).collect();
        while let Some(node) = open.pop() {
            if std::mem::replace(&mut leads[node.index()], true) {
                continue;
            }
            let into = self.graph.edges_directed(node, petgraph::Incoming);
            open.extend(into.filter(|edge| may(edge.id())).map(|edge| edge.source()));
        }
        leads
    }
}
