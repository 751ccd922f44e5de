//! What can be wrong with a graph, found without any QEMU.

use std::collections::BTreeSet;
use std::fmt;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::NodeIndex;
use petgraph::visit::{Dfs, EdgeRef};

use super::model::{EdgeKind, Kind, Model};

/// Something wrong with the graph.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Finding {
    /// An edge names a node that nobody declares.
    Undeclared {
        /// The node.
        node: &'static str,
        /// A node that has an edge to or from it.
        beside: &'static str,
    },
    /// Two declarations of one name.
    Duplicate {
        /// The name.
        node: &'static str,
        /// How many there are.
        times: usize,
    },
    /// Two edges that would give their paths the same name.
    DuplicateEdge {
        /// Where both begin.
        from: &'static str,
        /// Where both end.
        to: &'static str,
        /// The name of the variant, empty for the plain one.
        variant: &'static str,
    },
    /// No path from any machine leads there.
    Unreached {
        /// The node.
        node: &'static str,
    },
    /// A cycle from which no path leads to a test.
    Cycle {
        /// The nodes on it.
        nodes: Vec<&'static str>,
    },
    /// An interface that is produced, with nothing that consumes it.
    Unconsumed {
        /// The interface.
        node: &'static str,
    },
    /// A name of which the name of a path cannot be made.
    Name {
        /// The name of a node, or `NODE:VARIANT`.
        name: String,
        /// What such names look like.
        rule: &'static str,
    },
    /// A test whose paths are called like those over a driver or interface beside it.
    Ambiguous {
        /// The node of both.
        from: &'static str,
        /// What stands beside the test.
        beside: String,
        /// The test.
        test: &'static str,
    },
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Undeclared { node, beside } => write!(
                f,
                "{node}: an edge of {beside} names it, and nobody declares it; \
                 is its file missing, or its `driver!` or `interface!` line?"
            ),
            Self::Duplicate { node, times } => {
                write!(f, "{node}: declared {times} times; names must be unique")
            }
            Self::DuplicateEdge { from, to, variant: "" } => {
                write!(f, "{from} -> {to}: declared twice; give one of the edges a name")
            }
            Self::DuplicateEdge { from, to, variant } => {
                write!(f, "{from} -> {to}: two variants are called {variant}")
            }
            Self::Unreached { node } => {
                write!(f, "{node}: no machine leads to it, so none of its paths ever runs")
            }
            Self::Cycle { nodes } => {
                write!(f, "{}: a cycle that leads to no test", nodes.join(" -> "))
            }
            Self::Unconsumed { node } => {
                write!(f, "{node}: produced, but neither a driver nor a test consumes it")
            }
            Self::Name { name, rule } => write!(f, "{name}: {rule}"),
            Self::Ambiguous { from, beside, test } => write!(
                f,
                "{test}: a path from {from} to it is called like one that goes on over {beside}; \
                 give the suite another name"
            ),
        }
    }
}

impl Model {
    /// Everything that is wrong with the graph, in a fixed order; empty when it is sound.
    pub fn check(&self) -> Vec<Finding> {
        let graph = &self.graph;
        let mut findings = Vec::new();
        let reached = self.reached();
        for node in graph.node_indices() {
            let entry = &graph[node];
            let neighbour = graph.neighbors_undirected(node).map(|beside| graph[beside].name).min();
            if entry.kind == Kind::Undeclared {
                let beside = neighbour.unwrap_or(entry.name);
                findings.push(Finding::Undeclared { node: entry.name, beside });
            } else if !reached[node.index()] {
                findings.push(Finding::Unreached { node: entry.name });
            }
            if entry.declared > 1 {
                findings.push(Finding::Duplicate { node: entry.name, times: entry.declared });
            }
            if let Some(rule) = broken_rule(entry.kind, entry.name) {
                findings.push(Finding::Name { name: entry.name.to_owned(), rule });
            }
            self.check_labels(node, &mut findings);
            let mut into = graph.edges_directed(node, petgraph::Incoming);
            let produced = into.any(|edge| edge.weight().kind == EdgeKind::Produces);
            if produced && !entry.takes_types && graph.edges(node).next().is_none() {
                findings.push(Finding::Unconsumed { node: entry.name });
            }
            for pair in self.out[node.index()].windows(2) {
                let end = |edge| graph.edge_endpoints(edge).expect("an edge of this graph").1;
                let (a, b) = (&graph[pair[0]].offer, &graph[pair[1]].offer);
                if end(pair[0]) == end(pair[1]) && a.name == b.name {
                    let (from, to) = (entry.name, graph[end(pair[0])].name);
                    findings.push(Finding::DuplicateEdge { from, to, variant: a.name });
                }
            }
        }
        let leads = self.leads_to_test(|_| true);
        for component in kosaraju_scc(graph) {
            let first = component[0];
            let cyclic =
                component.len() > 1 || graph.edges(first).any(|edge| edge.target() == first);
            if cyclic && !leads[first.index()] {
                let mut nodes: Vec<_> = component.iter().map(|&node| graph[node].name).collect();
                nodes.sort_unstable();
                findings.push(Finding::Cycle { nodes });
            }
        }
        findings.sort();
        findings.dedup();
        findings
    }

    /// Looks for names that make two paths out of `from` indistinguishable.
    fn check_labels(&self, from: NodeIndex, findings: &mut Vec<Finding>) {
        let (tests, nodes): (Vec<_>, Vec<_>) = self.out[from.index()]
            .iter()
            .filter_map(|&edge| Some((edge, self.graph.edge_endpoints(edge)?.1)))
            .partition(|&(_, to)| self.graph[to].kind == Kind::Test);
        for &(edge, _) in &nodes {
            if self.graph[edge].offer.name.contains('/') {
                let rule = "the name of a variant has no / in it";
                findings.push(Finding::Name { name: self.label(edge), rule });
            }
        }
        if tests.is_empty() {
            return;
        }
        let labels: BTreeSet<_> = nodes.iter().map(|&(edge, _)| self.label(edge)).collect();
        for (_, test) in tests {
            let (from, test) = (self.graph[from].name, self.graph[test].name);
            let starts = test.match_indices('/').map(|(at, _)| &test[..at]);
            findings.extend(
                starts.filter_map(|start| labels.get(start)).map(|beside| Finding::Ambiguous {
                    from,
                    beside: beside.clone(),
                    test,
                }),
            );
        }
    }

    fn reached(&self) -> Vec<bool> {
        let mut reached = vec![false; self.graph.node_count()];
        for machine in self.graph.node_indices() {
            let entry = &self.graph[machine];
            let begins = entry.kind == Kind::Machine || entry.recognised;
            if !begins || reached[machine.index()] {
                continue;
            }
            let mut walk = Dfs::new(&self.graph, machine);
            while let Some(node) = walk.next(&self.graph) {
                reached[node.index()] = true;
            }
        }
        reached
    }
}

/// What is wrong with the name of a node of this kind.
fn broken_rule(kind: Kind, name: &str) -> Option<&'static str> {
    let parts = || name.split('/').filter(|part| !part.is_empty()).count();
    let slashes = name.matches('/').count();
    let (sound, rule) = match kind {
        Kind::Machine => (slashes == 1 && parts() == 2, "a machine is called ARCH/MACHINE"),
        Kind::Test => (slashes >= 1 && parts() == slashes + 1, "a test is called SUITE/CASE"),
        Kind::Driver | Kind::Interface => (
            !name.is_empty() && !name.contains(['/', ':']),
            "the name of a driver or interface has no / and no : in it",
        ),
        Kind::Undeclared => (true, ""),
    };
    (!sound).then_some(rule)
}
