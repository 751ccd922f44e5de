//! Where the boxes and lines of a picture stand: in columns, machines on the left, tests
//! on the right.
//!
//! The crate `rust-sugiyama` orders the boxes of a column so that few lines cross, and
//! finds their heights. It knows nothing of how lines run, so that lines which pass a
//! column, and labels, are given to it as small boxes.

use std::collections::BTreeSet;

use petgraph::algo::toposort;
use petgraph::graph::{EdgeIndex, NodeIndex};
use petgraph::stable_graph::StableDiGraph;
use petgraph::visit::{DfsEvent, EdgeFiltered, EdgeRef, depth_first_search};
use rust_sugiyama::configure::{Config, RankingType};

use super::picture::{Link, Picture};
use crate::graph::Kind;

/// The width and height of something, in pixels.
pub(super) type Size = (f64, f64);

/// The height that a line takes where it passes a column.
const LINE: f64 = 2.0;
/// The least room between two things in a column.
const BETWEEN: f64 = 12.0;
/// How far apart lines leave and reach a box.
const PORTS: f64 = 9.0;

/// Where a box stands: its left upper corner and its size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Rect {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// How a line runs: level along each part, curved from one part to the next. It begins and
/// ends on the borders of boxes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Route {
    /// Left end, right end and height of each part, from left to right.
    pub parts: Vec<(f64, f64, f64)>,
    /// Whether the line leads from right to left.
    pub backward: bool,
    /// Where the label stands.
    pub label: Option<Rect>,
}

/// The places of everything.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// By the index of the box.
    pub boxes: Vec<Rect>,
    /// By the index of the line.
    pub routes: Vec<Route>,
    pub width: f64,
    pub height: f64,
}

/// What stands in a column.
struct Slot {
    column: usize,
    size: Size,
}

/// Places the boxes and lines. `box_size` and `label_size` say how big things are.
pub(super) fn place(
    picture: &Picture,
    box_size: impl Fn(NodeIndex) -> Size,
    label_size: impl Fn(&Link) -> Option<Size>,
) -> Layout {
    if picture.node_count() == 0 {
        return Layout::default();
    }
    let back = back_edges(picture);
    let ranks = ranks(picture, &back);

    // Boxes stand in even columns, labels in odd ones, and empty columns are left out.
    let mut columns: BTreeSet<usize> = ranks.iter().map(|rank| 2 * rank).collect();
    let ends = |edge: EdgeIndex| {
        let (from, to) = picture.edge_endpoints(edge).expect("a line of this picture");
        if back.contains(&edge) { (to, from) } else { (from, to) }
    };
    for edge in picture.edge_indices() {
        if label_size(&picture[edge]).is_some() {
            columns.insert(2 * ranks[ends(edge).0.index()] + 1);
        }
    }
    let columns: Vec<usize> = columns.into_iter().collect();
    let column = |doubled: usize| columns.partition_point(|&c| c < doubled);

    let mut slots: StableDiGraph<Slot, ()> = StableDiGraph::new();
    for node in picture.node_indices() {
        slots.add_node(Slot { column: column(2 * ranks[node.index()]), size: box_size(node) });
    }
    let mut chains: Vec<Vec<NodeIndex>> = Vec::new();
    let mut labels = Vec::new();
    for edge in picture.edge_indices() {
        let (from, to) = ends(edge);
        let mut chain = vec![from];
        let mut label = label_size(&picture[edge]);
        labels.push(None);
        for column in slots[from].column + 1..slots[to].column {
            let size = match label.take() {
                Some(size) => {
                    labels[edge.index()] = Some(chain.len());
                    size
                }
                None => (0.0, LINE),
            };
            chain.push(slots.add_node(Slot { column, size }));
        }
        chain.push(to);
        for pair in chain.windows(2) {
            if pair[0] != pair[1] {
                slots.update_edge(pair[0], pair[1], ());
            }
        }
        chains.push(chain);
    }

    let centres = centres(&slots);
    let spans = spans(&slots, columns.len());
    let rect = |node: NodeIndex| {
        let Slot { column, size: (width, height) } = slots[node];
        let (left, _) = spans[column];
        let y = centres[node.index()] - height / 2.0;
        Rect { x: left, y, width, height }
    };
    let boxes: Vec<Rect> = picture.node_indices().map(rect).collect();
    let ports = ports(&chains, &centres, &boxes);
    let routes: Vec<Route> = picture
        .edge_indices()
        .map(|edge| {
            let chain = &chains[edge.index()];
            let (first, last) = (boxes[chain[0].index()], boxes[chain[chain.len() - 1].index()]);
            let (leaves, reaches) = ports[edge.index()];
            let end = |node: NodeIndex| spans[slots[node].column].1;
            let mut parts = vec![(first.x + first.width, end(chain[0]), leaves)];
            for &node in &chain[1..chain.len() - 1] {
                let (left, right) = spans[slots[node].column];
                parts.push((left, right, centres[node.index()]));
            }
            parts.push((last.x, last.x, reaches));
            let label = labels[edge.index()].map(|at| rect(chain[at]));
            Route { parts, backward: back.contains(&edge), label }
        })
        .collect();
    let bottom = |rect: &Rect| rect.y + rect.height;
    let all = boxes.iter().chain(routes.iter().filter_map(|route| route.label.as_ref()));
    let height = all.map(bottom).fold(0.0, f64::max);
    let lines = routes.iter().flat_map(|route| &route.parts).map(|&(_, _, y)| y + PORTS);
    let height = lines.fold(height, f64::max);
    let width = spans.last().map_or(0.0, |&(_, right)| right);
    Layout { boxes, routes, width, height }
}

/// The edges that close a cycle, seen from the machines; lines of their own to themselves
/// among them.
fn back_edges(picture: &Picture) -> BTreeSet<EdgeIndex> {
    let mut starts: Vec<_> = picture.node_indices().collect();
    starts.sort_by_key(|&node| picture[node].kind != Kind::Machine);
    let mut back = BTreeSet::new();
    depth_first_search(picture, starts, |event| {
        if let DfsEvent::BackEdge(from, to) = event {
            back.extend(picture.edges_connecting(from, to).map(|edge| edge.id()));
        }
    });
    back
}

/// The longest way from a box without lines into it; tests all stand at the end.
fn ranks(picture: &Picture, back: &BTreeSet<EdgeIndex>) -> Vec<usize> {
    let forward = EdgeFiltered::from_fn(picture, |edge| !back.contains(&edge.id()));
    let order = toposort(&forward, None).expect("no cycle without its back edges");
    let mut ranks = vec![0; picture.node_count()];
    for node in order {
        for edge in picture.edges(node).filter(|edge| !back.contains(&edge.id())) {
            let to = edge.target().index();
            ranks[to] = ranks[to].max(ranks[node.index()] + 1);
        }
    }
    let last = ranks.iter().copied().max().unwrap_or(0);
    for node in picture.node_indices() {
        if picture[node].kind == Kind::Test && picture.edges(node).next().is_none() {
            ranks[node.index()] = last;
        }
    }
    ranks
}

/// The height at which the centre of every slot stands, from 0 down.
fn centres(slots: &StableDiGraph<Slot, ()>) -> Vec<f64> {
    // To the crate, layers lie on each other; ours stand side by side.
    let size = |_, slot: &Slot| (slot.size.1, slot.size.0);
    // All edges lead from one column to the next, so the crate's ranks are our columns.
    let config = Config {
        vertex_spacing: BETWEEN,
        ranking_type: RankingType::Up,
        dummy_vertices: true,
        ..Config::default()
    };
    let mut centres = vec![0.0; slots.node_count()];
    let mut below = 0.0;
    let mut parts = rust_sugiyama::from_graph(slots, &|n, s: &Slot| size(n, s), &config);
    parts.sort_by_key(|(places, ..)| places.iter().map(|(node, _)| *node).min());
    for (places, ..) in parts {
        let half = |node: NodeIndex| slots[node].size.1 / 2.0;
        let top = places.iter().map(|&(n, (y, _))| y - half(n)).fold(f64::INFINITY, f64::min);
        for &(node, (y, _)) in &places {
            centres[node.index()] = (y - top + below).round();
        }
        let bottom = places.iter().map(|&(n, (y, _))| y - top + half(n)).fold(0.0, f64::max);
        below += bottom + 2.0 * BETWEEN;
    }
    centres
}

/// Left and right end of every column, with more room between two columns the more lines
/// run there and the steeper they can be.
fn spans(slots: &StableDiGraph<Slot, ()>, columns: usize) -> Vec<(f64, f64)> {
    let mut lines = vec![0.0; columns];
    let mut widths = vec![0.0f64; columns];
    for node in slots.node_indices() {
        let slot = &slots[node];
        widths[slot.column] = widths[slot.column].max(slot.size.0);
        lines[slot.column] += slots.edges(node).count() as f64;
    }
    let mut left = 0.0;
    let mut spans = Vec::new();
    for (width, lines) in widths.into_iter().zip(lines) {
        spans.push((left, left + width));
        left += width + (34.0 + lines).min(80.0);
    }
    spans
}

/// The heights at which every line leaves its first box and reaches its last: spread over
/// the box in the order in which they come, so that lines do not cross at a box.
fn ports(chains: &[Vec<NodeIndex>], centres: &[f64], boxes: &[Rect]) -> Vec<(f64, f64)> {
    let mut ports = vec![(0.0, 0.0); chains.len()];
    let mut sides: Vec<(Vec<_>, Vec<_>)> = vec![Default::default(); boxes.len()];
    for (number, chain) in chains.iter().enumerate() {
        let (first, last) = (chain[0], chain[chain.len() - 1]);
        let at = |node: NodeIndex| centres[node.index()];
        sides[first.index()].0.push((at(chain[1]), number));
        sides[last.index()].1.push((at(chain[chain.len() - 2]), number));
    }
    for (rect, side) in boxes.iter().zip(&mut sides) {
        for (out, lines) in [(true, &mut side.0), (false, &mut side.1)] {
            lines.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
            let count = lines.len() as f64;
            let step = PORTS.min((rect.height - 8.0) / count);
            let top = rect.y + rect.height / 2.0 - step * (count - 1.0) / 2.0;
            for (place, &(_, number)) in lines.iter().enumerate() {
                let y = top + step * place as f64;
                *(if out { &mut ports[number].0 } else { &mut ports[number].1 }) = y;
            }
        }
    }
    ports
}
