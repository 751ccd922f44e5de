//! Why a path, a node or a test is available or not: the first thing that an emulator
//! lacks, or the first edge that the graph does not have.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use petgraph::graph::NodeIndex;

use super::model::{Kind, Model, Step};
use super::path::Path;
use crate::qemu::Capabilities;

/// The first thing on a path that an emulator lacks.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lack {
    /// It emulates another architecture.
    Arch {
        /// Its own.
        has: String,
        /// That of the path, or those of several paths.
        needs: String,
    },
    /// It has no such machine type.
    Machine(&'static str),
    /// It has no such device.
    Device {
        /// The device type.
        device: &'static str,
        /// The node that is that device.
        node: &'static str,
    },
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Self::Arch { has, needs } => write!(f, "emulates {has}, and the machine is of {needs}"),
            Self::Machine(machine) => write!(f, "lacks the machine {machine}"),
            Self::Device { device, node } if device == node => {
                write!(f, "lacks the device {device}")
            }
            Self::Device { device, node } => {
                write!(f, "lacks the device {device}, which the node {node} needs")
            }
        }
    }
}

/// What a name turned out to be, and what one emulator makes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A path, and what is lacking first.
    Path(Option<Lack>),
    /// A node or a test: how many paths lead over or to it here, and if none, what is
    /// lacking first on each that would.
    Node {
        /// How many of its paths this emulator can run.
        paths: usize,
        /// What stands in the way, if it can run none.
        lacks: BTreeSet<Lack>,
    },
}

/// What a name is in the graph.
#[derive(Debug, Clone)]
pub enum Subject {
    /// A whole path.
    Path(Box<Path>),
    /// A machine, driver, interface or test.
    Node(&'static str, Kind),
    /// It starts like a path, and at one point the graph has no such edge.
    NoEdge {
        /// The node up to which the name is a path.
        after: &'static str,
        /// What follows in the name.
        rest: String,
        /// Where edges do lead from there.
        instead: Vec<String>,
    },
    /// Nothing; the names that are most like it.
    Unknown(Vec<&'static str>),
}

impl Model {
    /// Finds out what `name` is.
    pub fn subject(self: &Arc<Self>, name: &str) -> Subject {
        if let Some(entry) = self.find(name.strip_prefix('/').unwrap_or(name))
            && entry.kind != Kind::Undeclared
        {
            return Subject::Node(entry.name, entry.kind);
        }
        let machine = name.strip_prefix('/').and_then(|rest| {
            let end = rest.match_indices('/').nth(1).map_or(rest.len(), |(at, _)| at);
            let node = *self.index.get(&rest[..end])?;
            (self.graph[node].kind == Kind::Machine).then_some((node, &rest[end..]))
        });
        match machine {
            Some((machine, rest)) => self.follow(machine, rest),
            None => Subject::Unknown(self.similar(name)),
        }
    }

    fn follow(self: &Arc<Self>, machine: NodeIndex, mut rest: &str) -> Subject {
        let (mut at, mut edges) = (machine, Vec::new());
        while let Some(name) = rest.strip_prefix('/').filter(|name| !name.is_empty()) {
            let next = self.out[at.index()].iter().filter_map(|&edge| {
                let (_, to) = self.graph.edge_endpoints(edge)?;
                let label = self.label(edge);
                let tail = name.strip_prefix(label.as_str())?;
                (tail.is_empty() || tail.starts_with('/')).then_some((edge, to, tail))
            });
            // Of two tests one may be called like the beginning of the other.
            // Of guests for several architectures that share a name, that of the machine.
            let key = |(edge, _, tail): &(petgraph::graph::EdgeIndex, NodeIndex, &str)| {
                let is_other = match &self.graph[*edge].step {
                    Step::Guest(guest) => !guest.runs_on(self.graph[machine].name),
                    _ => false,
                };
                (tail.len(), is_other)
            };
            let Some((edge, to, tail)) = next.min_by_key(key) else { break };
            edges.push(edge);
            (at, rest) = (to, tail);
        }
        if rest.is_empty() && self.graph[at].kind == Kind::Test {
            return Subject::Path(Box::new(Path::new(self.clone(), machine, edges)));
        }
        let instead = self.out[at.index()].iter().map(|&edge| self.label(edge)).collect();
        Subject::NoEdge { after: self.graph[at].name, rest: rest.to_owned(), instead }
    }

    /// How the edge is called in the name of a path.
    pub(super) fn label(&self, edge: petgraph::graph::EdgeIndex) -> String {
        let (_, to) = self.graph.edge_endpoints(edge).expect("an edge of this graph");
        match self.graph[edge].offer.name {
            "" => self.graph[to].name.to_owned(),
            variant => format!("{}:{variant}", self.graph[to].name),
        }
    }

    fn similar(&self, name: &str) -> Vec<&'static str> {
        let mut near: Vec<_> = self
            .nodes()
            .map(|node| {
                let contains = node.name.contains(name) || name.contains(node.name);
                let bonus = if contains { 1.0 } else { 0.0 };
                (bonus + strsim::jaro_winkler(node.name, name), node.name)
            })
            .filter(|(score, _)| *score > 0.8)
            .collect();
        near.sort_by(|a, b| b.0.total_cmp(&a.0));
        near.into_iter().map(|(_, name)| name).take(5).collect()
    }

    /// The first thing on `path` that this emulator lacks.
    pub fn first_lack(&self, path: &Path, has: &Capabilities) -> Option<Lack> {
        let machine = path.machine();
        let (arch, kind) = machine.split_once('/').unwrap_or(("", machine));
        if arch != has.arch {
            return Some(Lack::Arch { has: has.arch.clone(), needs: arch.to_owned() });
        }
        if !has.has_machine(machine) {
            return Some(Lack::Machine(kind));
        }
        path.edge_indices().iter().find_map(|&edge| {
            let (_, to) = self.graph.edge_endpoints(edge)?;
            let device = self.edge_lacks(edge, has)?;
            Some(Lack::Device { device, node: self.graph[to].name })
        })
    }

    /// What an emulator with these capabilities makes of a path or node.
    /// `None` for a subject that is neither.
    pub fn answer(self: &Arc<Self>, subject: &Subject, has: &Capabilities) -> Option<Answer> {
        match subject {
            Subject::Path(path) => Some(Answer::Path(self.first_lack(path, has))),
            Subject::Node(name, _) => {
                let over = |path: &Path| path.nodes().any(|node| node == *name);
                let paths = self.walk(Some(self.availability(has)), |_| true).filter(over).count();
                let mut lacks = BTreeSet::new();
                if paths == 0 {
                    let everything = self.walk(None, |_| true).filter(over);
                    lacks.extend(everything.filter_map(|path| self.first_lack(&path, has)));
                    lacks = without_other_architectures(lacks);
                }
                Some(Answer::Node { paths, lacks })
            }
            Subject::NoEdge { .. } | Subject::Unknown(_) => None,
        }
    }
}

/// Another architecture explains nothing where this one is lacking, too; and where there
/// are only others, they are one reason.
fn without_other_architectures(lacks: BTreeSet<Lack>) -> BTreeSet<Lack> {
    let (mut others, mut needed) = (BTreeSet::new(), Vec::new());
    let mut own = String::new();
    for lack in lacks {
        match lack {
            Lack::Arch { has, needs } => {
                own = has;
                needed.push(needs);
            }
            lack => {
                others.insert(lack);
            }
        }
    }
    if others.is_empty() && !needed.is_empty() {
        others.insert(Lack::Arch { has: own, needs: needed.join(", ") });
    }
    others
}
