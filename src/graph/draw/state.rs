//! How a part of the drawing is doing: whether an emulator has it, or, after a run, how the
//! paths over it went.

use std::collections::HashMap;

use super::Drawing;

/// How a node, an edge, or a box of several nodes is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum State {
    /// No emulator at hand has it; after a run: no path over it ran.
    #[default]
    Missing,
    /// It is there; after a run: no path over it passed or failed.
    Plain,
    /// All paths over it passed.
    Passed,
    /// Some paths over it passed, and some failed.
    Mixed,
    /// All paths over it failed.
    Failed,
}

impl State {
    /// The state of two things taken together.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Missing, known) | (known, Self::Missing) => known,
            (Self::Plain, known) | (known, Self::Plain) => known,
            (one, other) if one == other => one,
            _ => Self::Mixed,
        }
    }

    /// Its class in the picture, after a blank; nothing for what needs no word.
    pub(super) fn class(self) -> &'static str {
        match self {
            Self::Missing => " off",
            Self::Plain => "",
            Self::Passed => " passed",
            Self::Mixed => " mixed",
            Self::Failed => " failed",
        }
    }
}

/// The states of a drawing's nodes and edges after a run.
#[derive(Debug, Clone)]
pub(super) struct States {
    pub nodes: Vec<State>,
    pub edges: Vec<State>,
}

impl Drawing {
    /// The drawing after a run: `paths` are the names of the paths that ran, and how each
    /// went. A name that is no path of this graph says nothing.
    #[must_use]
    pub fn after<'a>(mut self, paths: impl IntoIterator<Item = (&'a str, State)>) -> Self {
        let mut states = States {
            nodes: vec![State::Missing; self.nodes.len()],
            edges: vec![State::Missing; self.edges.len()],
        };
        let index: HashMap<&str, usize> =
            self.nodes.iter().enumerate().map(|(place, node)| (&*node.name, place)).collect();
        let mut out = vec![Vec::new(); self.nodes.len()];
        for (number, edge) in self.edges.iter().enumerate() {
            let name = &self.nodes[edge.to].name;
            let label = match edge.variant.as_str() {
                "" => name.clone(),
                variant => format!("{name}:{variant}"),
            };
            out[edge.from].push((label, number));
        }
        for (path, state) in paths {
            let Some((machine, edges)) = self.follow(&index, &out, path) else { continue };
            let node = &mut states.nodes[machine];
            *node = node.and(state);
            for edge in edges {
                let to = &mut states.nodes[self.edges[edge].to];
                *to = to.and(state);
                let over = &mut states.edges[edge];
                *over = over.and(state);
            }
        }
        self.after = Some(states);
        self
    }

    /// Whether everything has been run over.
    pub fn is_all_run(&self) -> bool {
        let ran = |states: &States| {
            states.nodes.iter().chain(&states.edges).all(|&state| state != State::Missing)
        };
        self.after.as_ref().is_some_and(ran)
    }

    /// Only what has been run over.
    #[must_use]
    pub fn without_missing(&self) -> Self {
        let Some(states) = &self.after else { return self.clone() };
        let kept = |states: &[State]| -> Vec<usize> {
            (0..states.len()).filter(|&at| states[at] != State::Missing).collect()
        };
        let (nodes, edges) = (kept(&states.nodes), kept(&states.edges));
        // An edge that was run over has both its nodes.
        let place = |old: usize| nodes.binary_search(&old).unwrap_or_default();
        Self {
            nodes: nodes.iter().map(|&at| self.nodes[at].clone()).collect(),
            edges: edges
                .iter()
                .map(|&at| &self.edges[at])
                .map(|edge| {
                    let (from, to) = (place(edge.from), place(edge.to));
                    super::DrawnEdge { from, to, ..edge.clone() }
                })
                .collect(),
            emulators: self.emulators.clone(),
            after: Some(States {
                nodes: nodes.iter().map(|&at| states.nodes[at]).collect(),
                edges: edges.iter().map(|&at| states.edges[at]).collect(),
            }),
        }
    }

    /// The machine and the edges of the path of this name.
    fn follow(
        &self,
        index: &HashMap<&str, usize>,
        out: &[Vec<(String, usize)>],
        path: &str,
    ) -> Option<(usize, Vec<usize>)> {
        let path = path.strip_prefix('/')?;
        let end = path.match_indices('/').nth(1)?.0;
        let machine = *index.get(&path[..end])?;
        let (mut at, mut rest, mut edges) = (machine, &path[end..], Vec::new());
        while !rest.is_empty() {
            let name = rest.strip_prefix('/')?;
            let next = out[at].iter().filter_map(|(label, edge)| {
                let tail = name.strip_prefix(label.as_str())?;
                (tail.is_empty() || tail.starts_with('/')).then_some((*edge, tail))
            });
            // Of two tests one may be called like the beginning of the other.
            let (edge, tail) = next.min_by_key(|(_, tail)| tail.len())?;
            edges.push(edge);
            (at, rest) = (self.edges[edge].to, tail);
        }
        Some((machine, edges))
    }

    /// The state of a node.
    pub(super) fn node_state(&self, node: usize) -> State {
        match &self.after {
            Some(states) => states.nodes[node],
            None => self.availability(&self.nodes[node].emulators),
        }
    }

    /// The state of an edge.
    pub(super) fn edge_state(&self, edge: usize) -> State {
        match &self.after {
            Some(states) => states.edges[edge],
            None => self.availability(&self.edges[edge].emulators),
        }
    }

    /// Whether something is there: where nobody knows, everything is.
    fn availability(&self, emulators: &[usize]) -> State {
        match self.emulators.is_empty() || !emulators.is_empty() {
            true => State::Plain,
            false => State::Missing,
        }
    }
}
