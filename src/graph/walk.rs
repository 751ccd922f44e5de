//! Every path from a machine to a test, one after the other, as they are asked for.

use std::sync::Arc;

use petgraph::graph::{EdgeIndex, NodeIndex};

use super::model::{Availability, Kind, Model};
use super::path::Path;

/// All simple paths from machines to tests: no node twice on one path, parallel edges a
/// path each. Memory grows with the longest path, not with the number of paths.
pub struct Walk {
    model: Arc<Model>,
    available: Option<Availability>,
    leads: Vec<bool>,
    /// The machines still to come, the next one last.
    machines: Vec<NodeIndex>,
    /// The path so far.
    edges: Vec<EdgeIndex>,
    /// The nodes on it, and how many edges out of each have been taken.
    stack: Vec<(NodeIndex, usize)>,
    on_path: Vec<bool>,
}

impl Model {
    /// Walks the graph. With an availability only what that emulator has; without, as if
    /// there were a QEMU that has everything. Only machines that `wanted` accepts are
    /// entered, so a run for one machine does not pay for the others.
    pub fn walk(
        self: &Arc<Self>,
        available: Option<Availability>,
        wanted: impl Fn(&str) -> bool,
    ) -> Walk {
        let mut machines: Vec<NodeIndex> = self
            .graph
            .node_indices()
            .filter(|&node| {
                let entry = &self.graph[node];
                entry.kind == Kind::Machine
                    && available.as_ref().is_none_or(|has| has.nodes[node.index()])
                    && wanted(entry.name)
            })
            .collect();
        machines.sort_by_key(|&node| std::cmp::Reverse(self.graph[node].name));
        let leads =
            self.leads_to_test(|edge| available.as_ref().is_none_or(|has| has.edges[edge.index()]));
        Walk {
            leads,
            machines,
            edges: Vec::new(),
            stack: Vec::new(),
            on_path: vec![false; self.graph.node_count()],
            available,
            model: self.clone(),
        }
    }
}

impl Walk {
    fn enter(&mut self, node: NodeIndex) {
        self.on_path[node.index()] = true;
        self.stack.push((node, 0));
    }

    fn leave(&mut self) {
        if let Some((node, _)) = self.stack.pop() {
            self.on_path[node.index()] = false;
            self.edges.pop();
        }
    }

    fn may_take(&self, edge: EdgeIndex, to: NodeIndex) -> bool {
        self.leads[to.index()]
            && !self.on_path[to.index()]
            && self.available.as_ref().is_none_or(|has| has.edges[edge.index()])
    }
}

impl Iterator for Walk {
    type Item = Path;

    fn next(&mut self) -> Option<Path> {
        loop {
            let Some((node, taken)) = self.stack.last_mut() else {
                let machine = self.machines.pop()?;
                self.enter(machine);
                continue;
            };
            let Some(&edge) = self.model.out[node.index()].get(*taken) else {
                self.leave();
                continue;
            };
            *taken += 1;
            let (_, to) = self.model.graph.edge_endpoints(edge).expect("an edge of this graph");
            if !self.may_take(edge, to) {
                continue;
            }
            if self.model.graph[to].kind == Kind::Test {
                let mut edges = Vec::with_capacity(self.edges.len() + 1);
                edges.extend_from_slice(&self.edges);
                edges.push(edge);
                return Some(Path::new(self.model.clone(), self.stack[0].0, edges));
            }
            self.edges.push(edge);
            self.enter(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::tests::diamonds;

    /// Would catch a walk that remembers the paths it has handed out.
    #[test]
    fn memory_grows_with_the_longest_path_only() {
        let model = diamonds(40).model();
        let mut walk = model.walk(None, |_| true);
        let held = |walk: &super::Walk| {
            (walk.stack.capacity(), walk.edges.capacity(), walk.machines.capacity())
        };
        walk.next();
        let after_one = held(&walk);
        assert!(walk.by_ref().take(100_000).all(|path| path.nodes().count() == 83));
        assert_eq!(held(&walk), after_one);
    }
}
