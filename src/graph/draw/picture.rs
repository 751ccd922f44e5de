//! What shares a box and what shares a line, so that a big graph stays readable: the cases
//! of one suite, nodes that have the same neighbours (`arm/nuri` and `arm/smdkc210`, a
//! family of network cards), and the variants of one edge.

use std::collections::BTreeMap;

use petgraph::graph::DiGraph;

use super::{Drawing, DrawnEdge, State};
use crate::graph::{EdgeKind, Kind};

/// How wide a list of cases gets, in characters.
const LIST_WIDTH: usize = 32;

/// A name, and how what it names is doing.
pub(super) type Item = (String, State);

/// A box.
#[derive(Debug)]
pub(super) struct Shape {
    pub kind: Kind,
    /// What stands above the names: the suite.
    pub title: Option<String>,
    /// The nodes, or the cases of the suite.
    pub names: Vec<Item>,
    pub state: State,
}

/// A line.
#[derive(Debug)]
pub(super) struct Link {
    pub kind: EdgeKind,
    /// The named variants; there may be a plain edge besides.
    pub variants: Vec<Item>,
    pub state: State,
}

pub(super) type Picture = DiGraph<Shape, Link>;

/// The suite and the case of a test. A suite ends in `-tests`; it is the name up to the
/// first slash where it does not.
fn suite_and_case(test: &str) -> (&str, &str) {
    match test.find("-tests/") {
        Some(at) => (&test[..at + "-tests".len()], &test[at + "-tests/".len()..]),
        None => test.split_once('/').unwrap_or((test, "")),
    }
}

impl Drawing {
    /// The boxes and lines.
    pub(super) fn picture(&self) -> Picture {
        // Nodes that share everything in this key share a box.
        let mut keys: Vec<_> = self.nodes.iter().map(|_| Vec::new()).collect();
        for DrawnEdge { kind, from, to, variant, .. } in &self.edges {
            keys[*from].push((true, *kind, variant, *to));
            keys[*to].push((false, *kind, variant, *from));
        }
        let mut picture = Picture::new();
        let mut boxes = BTreeMap::new();
        let mut of = Vec::new();
        for ((number, node), mut key) in self.nodes.iter().enumerate().zip(keys) {
            let (title, name) = match node.kind {
                Kind::Test => {
                    let (suite, case) = suite_and_case(&node.name);
                    (Some(suite.to_owned()), case)
                }
                _ => (None, node.name.as_str()),
            };
            key.sort_unstable();
            // A node without edges resembles nothing.
            let alone = key.is_empty().then_some(number);
            let shape = *boxes.entry((node.kind, title.clone(), alone, key)).or_insert_with(|| {
                let (kind, names) = (node.kind, Vec::new());
                picture.add_node(Shape { kind, title, names, state: State::Missing })
            });
            let state = self.node_state(number);
            picture[shape].names.push((name.to_owned(), state));
            picture[shape].state = picture[shape].state.and(state);
            of.push(shape);
        }

        let mut lines: BTreeMap<_, BTreeMap<&str, State>> = BTreeMap::new();
        for (number, edge) in self.edges.iter().enumerate() {
            let variants = lines.entry((of[edge.from], of[edge.to], edge.kind)).or_default();
            let state = variants.entry(&edge.variant).or_default();
            *state = state.and(self.edge_state(number));
        }
        for ((from, to, kind), variants) in lines {
            let state = variants.values().copied().fold(State::Missing, State::and);
            let named = variants.into_iter().filter(|(name, _)| !name.is_empty());
            let variants = named.map(|(name, state)| (format!(":{name}"), state)).collect();
            picture.add_edge(from, to, Link { kind, variants, state });
        }
        picture
    }
}

impl Shape {
    /// The lines of text below the title: a node each, but cases side by side.
    pub fn lines(&self) -> Vec<Vec<Item>> {
        if self.kind != Kind::Test {
            return self.names.iter().map(|name| vec![name.clone()]).collect();
        }
        let mut lines: Vec<Vec<Item>> = Vec::new();
        let mut room = 0;
        for (number, (case, state)) in self.names.iter().enumerate() {
            let comma = if number + 1 < self.names.len() { "," } else { "" };
            let item = (format!("{case}{comma}"), *state);
            let width = item.0.chars().count() + 1;
            match lines.last_mut() {
                Some(line) if width <= room => line.push(item),
                _ => {
                    room = LIST_WIDTH + 1;
                    lines.push(vec![item]);
                }
            }
            room = room.saturating_sub(width);
        }
        lines.retain(|line| line.iter().any(|(text, _)| !text.is_empty()));
        lines
    }
}

/// The text with what has a meaning in XML escaped, and what XML forbids replaced.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c if c.is_control() || ('\u{fffe}'..='\u{ffff}').contains(&c) => out.push('\u{fffd}'),
            c => out.push(c),
        }
    }
    out
}
