//! Every path from a machine to a test, one after the other, as they are asked for.

use std::sync::Arc;

use petgraph::algo::kosaraju_scc;
use petgraph::graph::{EdgeIndex, NodeIndex};
use petgraph::visit::{EdgeFiltered, EdgeRef};

use super::model::{Availability, EdgeKind, Kind, Model, Step};
use super::node::Plug;
use super::path::Path;

/// Whether names that begin with this may be wanted: `/ARCH/MACHINE/`, `/ARCH/MACHINE/NODE/`, …
type MayBegin = Box<dyn Fn(&str) -> bool + Send>;

/// How many interfaces a path may enter a second time. A bridge is a driver that consumes and
/// produces the same bus, so that a device can be behind one, but not behind two.
const RETURNS: u8 = 1;

/// All paths from machines to tests on which no node is twice, but for an interface behind a
/// bridge, parallel edges a path each. Memory grows with the longest path, not with the number
/// of paths, and no node is entered from which no path goes on, so that time grows with the
/// paths that there are.
pub struct Walk {
    model: Arc<Model>,
    available: Option<Arc<Availability>>,
    may_begin: Option<MayBegin>,
    /// The name of the path so far, if somebody looks at it.
    name: String,
    leads: Vec<bool>,
    cycles: Cycles,
    /// The machines still to come, the next one last.
    machines: Vec<NodeIndex>,
    /// The path so far.
    edges: Vec<EdgeIndex>,
    stack: Vec<Frame>,
    /// As which node each is counted.
    counted: Vec<usize>,
    /// How often each node is on the path, as it is counted.
    on_path: Vec<u8>,
    /// How many nodes are on it twice.
    returns: u8,
}

/// A node on the path.
struct Frame {
    node: NodeIndex,
    /// How many edges out of it have been taken.
    taken: usize,
    /// The length of the name up to the node before it.
    name: usize,
}

impl Model {
    /// Walks the graph. With an availability only what that emulator has; without, as if
    /// there were a QEMU that has everything. Only machines that `wanted` accepts are
    /// entered, so a run for one machine does not pay for the others.
    pub fn walk(
        self: &Arc<Self>,
        available: Option<Arc<Availability>>,
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
        let mut walk = Walk {
            available,
            may_begin: None,
            name: String::new(),
            leads: Vec::new(),
            cycles: Cycles::default(),
            machines,
            edges: Vec::new(),
            stack: Vec::new(),
            counted: Vec::new(),
            on_path: Vec::new(),
            returns: 0,
            model: self.clone(),
        };
        if !walk.machines.is_empty() {
            walk.leads = self.leads_to_test(|edge| walk.has(edge));
            walk.cycles = Cycles::new(self, |edge| walk.has(edge));
            walk.on_path = vec![0; self.graph.node_count()];
            let counted = |node: NodeIndex| {
                let other = self.graph[node].counts_as.and_then(|name| self.index.get(name));
                other.unwrap_or(&node).index()
            };
            walk.counted = self.graph.node_indices().map(counted).collect();
        }
        walk
    }
}

impl Walk {
    /// Keeps to what `may_begin` accepts: it is asked about the name so far of each path,
    /// with a `/` at its end, and no path whose name begins with a refused one is walked.
    pub fn within(self, may_begin: impl Fn(&str) -> bool + Send + 'static) -> Self {
        Self { may_begin: Some(Box::new(may_begin)), ..self }
    }

    fn has(&self, edge: EdgeIndex) -> bool {
        self.available.as_ref().is_none_or(|has| has.edges[edge.index()])
    }

    /// Enters `node`, by the last of `edges` if it is no machine, unless no wanted name goes
    /// on there.
    fn enter(&mut self, node: NodeIndex) -> bool {
        let name = self.name.len();
        if let Some(may_begin) = &self.may_begin {
            match self.edges.last() {
                None => self.name.extend(["/", self.model.graph[node].name, "/"]),
                Some(&edge) => self.name.extend([&self.model.label(edge), "/"]),
            }
            if !may_begin(&self.name) {
                self.name.truncate(name);
                return false;
            }
        }
        let times = &mut self.on_path[self.counted[node.index()]];
        *times += 1;
        self.returns += *times - 1;
        self.stack.push(Frame { node, taken: 0, name });
        true
    }

    fn leave(&mut self) {
        if let Some(frame) = self.stack.pop() {
            let times = &mut self.on_path[self.counted[frame.node.index()]];
            *times -= 1;
            self.returns -= *times;
            self.name.truncate(frame.name);
            self.edges.pop();
        }
    }

    /// Whether a device can be plugged in by `edge` where the path has come to.
    fn is_open(&self, edge: EdgeIndex) -> bool {
        let edge = &self.model.graph[edge];
        if let (Step::Guest(guest), Some(start)) = (&edge.step, self.stack.first()) {
            return guest.runs_on(self.model.graph[start.node].name);
        }
        if edge.kind != EdgeKind::ConsumedBy || matches!(edge.step, Step::Run(_)) {
            return true;
        }
        if edge.offer.args.on_root_only && self.returns > 0 {
            return false;
        }
        let plug_after = |plug, edge: &EdgeIndex| self.model.graph[*edge].plug_after(plug);
        !self.edges.iter().fold(Plug::NONE, plug_after).is_closed()
    }

    fn may_take(&mut self, edge: EdgeIndex, to: NodeIndex) -> bool {
        if !self.is_open(edge) {
            return false;
        }
        let Self { model, leads, cycles, counted, on_path, returns, available, .. } = self;
        let has = |edge: EdgeIndex| available.as_ref().is_none_or(|has| has.edges[edge.index()]);
        // How many returns it takes to enter a node.
        let cost = |node: NodeIndex| match on_path[counted[node.index()]] {
            0 => Some(0),
            1 if model.graph[node].kind == Kind::Interface => Some(1),
            _ => None,
        };
        let left = RETURNS - *returns;
        let may = |edge: EdgeIndex, to: NodeIndex| {
            cost(to).filter(|&cost| cost <= left && leads[to.index()] && has(edge))
        };
        may(edge, to).is_some_and(|cost| cycles.can_be_left(model, to, left - cost, may))
    }
}

impl Iterator for Walk {
    type Item = Path;

    fn next(&mut self) -> Option<Path> {
        loop {
            let Some(Frame { node, taken, .. }) = self.stack.last_mut() else {
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
                return Some(Path::new(self.model.clone(), self.stack[0].node, edges));
            }
            self.edges.push(edge);
            if !self.enter(to) {
                self.edges.pop();
            }
        }
    }
}

/// The nodes that lie on cycles. Only there can the nodes of a path stand in its own way:
/// what leads to a test then may do so only over a node that is on the path already.
#[derive(Default)]
struct Cycles {
    /// For every node the number of its strongly connected component.
    component: Vec<usize>,
    /// For every component whether it has more than one node.
    large: Vec<bool>,
    /// For every node the last search that came by, by how many returns it had left.
    seen: Vec<[u64; RETURNS as usize + 1]>,
    search: u64,
    open: Vec<(NodeIndex, u8)>,
}

impl Cycles {
    fn new(model: &Model, has: impl Fn(EdgeIndex) -> bool) -> Self {
        let nodes = model.graph.node_count();
        let taken = EdgeFiltered::from_fn(&model.graph, |edge| has(edge.id()));
        let (mut component, mut large) = (vec![0; nodes], Vec::new());
        for members in kosaraju_scc(&taken) {
            for node in &members {
                component[node.index()] = large.len();
            }
            large.push(members.len() > 1);
        }
        Self {
            component,
            large,
            seen: vec![Default::default(); nodes],
            search: 0,
            open: Vec::new(),
        }
    }

    /// Whether a way leads out of the cycles `from` is on, with at most `returns` returns. `may`
    /// says how many of them the node takes to which an edge leads; none if it is not to be
    /// entered.
    fn can_be_left(
        &mut self,
        model: &Model,
        from: NodeIndex,
        returns: u8,
        may: impl Fn(EdgeIndex, NodeIndex) -> Option<u8>,
    ) -> bool {
        let component = self.component[from.index()];
        let is_test = |node: NodeIndex| model.graph[node].kind == Kind::Test;
        if !self.large[component] || is_test(from) {
            return true;
        }
        self.search += 1;
        self.open.clear();
        self.open.push((from, returns));
        while let Some((node, returns)) = self.open.pop() {
            let seen = &mut self.seen[node.index()][usize::from(returns)];
            if std::mem::replace(seen, self.search) == self.search {
                continue;
            }
            for &edge in &model.out[node.index()] {
                let (_, to) = model.graph.edge_endpoints(edge).expect("an edge of this graph");
                let Some(left) = may(edge, to).and_then(|cost| returns.checked_sub(cost)) else {
                    continue;
                };
                if self.component[to.index()] != component || is_test(to) {
                    return true;
                }
                self.open.push((to, left));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::graph::test_graphs::diamonds;

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
