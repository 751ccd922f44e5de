//! The picture as SVG: a file of its own, with its colours for a light and a dark screen.
//!
//! Kinds differ in shape and in brightness, not in colour alone, so that a grey print
//! tells them apart. After a run the colours say how it went.

use std::fmt::Write;

use petgraph::graph::NodeIndex;
use petgraph::{Incoming, Outgoing};

use super::layout::{self, Rect, Route, Size};
use super::legend::Legend;
use super::picture::{Item, Link, Picture, Shape, escape};
use super::{Drawing, State};
use crate::graph::{EdgeKind, Kind};

/// Width of a character and height of a line of text, in pixels, at the size that the
/// style sets.
const CHARACTER: f64 = 6.63;
pub(super) const TEXT: f64 = 15.0;
/// Between a box's border and its text.
pub(super) const PAD: Size = (9.0, 5.0);
/// Around the picture.
const MARGIN: f64 = 24.0;
/// The slope at the sides of an interface and the folded corner of a suite.
const CORNER: f64 = 8.0;

/// What the end of a line takes of a box's height, and how high a box gets for that.
const PORT: f64 = 7.0;
const MOST_FOR_PORTS: f64 = 120.0;

/// The colours.
const STYLE: &str = include_str!("svg.css");

impl Drawing {
    /// The picture as a file for a browser.
    pub fn svg(&self) -> String {
        let picture = self.picture();
        let layout = layout::place(&picture, |node| node_size(&picture, node), label_size);
        let legend = Legend::new(&picture, !self.emulators.is_empty(), self.after.is_some());
        let after = if self.after.is_some() { " class=\"after\"" } else { "" };
        let title = format!("{} nodes, {} edges", self.nodes.len(), self.edges.len());

        let top = MARGIN + 26.0;
        let down = top + legend.height + 30.0;
        let width = layout.width.max(legend.width) + 2.0 * MARGIN;
        let height = down + layout.height + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\"{after} width=\"{width:.0}\" \
             height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <title>qgraph: {title}</title>\n<style>\n{STYLE}</style>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"head\" x=\"{MARGIN}\" y=\"{MARGIN}\">qgraph</text>\n\
             <text class=\"note\" x=\"{:.1}\" y=\"{MARGIN}\">{title}</text>\n",
            MARGIN + 70.0,
        );
        group(&mut svg, MARGIN, top, &legend.text);
        let mut body = String::new();
        // What is wrong lies above what is there, that above what is not, and boxes above
        // lines.
        let mut edges: Vec<_> = picture.edge_indices().collect();
        edges.sort_by_key(|&edge| picture[edge].state);
        for edge in edges {
            let (from, to) = picture.edge_endpoints(edge).expect("a line of this picture");
            let ends = [from, to].map(|node| picture[node].called());
            line(&mut body, &picture[edge], &layout.routes[edge.index()], &ends);
        }
        for node in picture.node_indices() {
            shape(&mut body, &picture[node], layout.boxes[node.index()]);
        }
        group(&mut svg, MARGIN, down, &body);
        svg.push_str("</svg>\n");
        svg
    }
}

impl Shape {
    /// A word for the box.
    fn called(&self) -> &str {
        self.title
            .as_deref()
            .or_else(|| self.names.first().map(|(name, _)| name.as_str()))
            .unwrap_or("")
    }
}

fn group(svg: &mut String, x: f64, y: f64, text: &str) {
    let _ = write!(svg, "<g transform=\"translate({x:.0} {y:.0})\">\n{text}</g>\n");
}

pub(super) fn width_of(line: &[Item]) -> f64 {
    let characters: usize = line.iter().map(|(text, _)| text.chars().count() + 1).sum();
    characters.saturating_sub(1) as f64 * CHARACTER
}

/// The lines of a box, its title first.
fn text_of(shape: &Shape) -> Vec<Vec<Item>> {
    let title = shape.title.iter().map(|title| vec![(title.clone(), shape.state)]);
    title.chain(shape.lines()).collect()
}

pub(super) fn box_size(shape: &Shape) -> Size {
    let lines = text_of(shape);
    let width = lines.iter().map(|line| width_of(line)).fold(0.0, f64::max);
    let slopes = if shape.kind == Kind::Interface { CORNER } else { 0.0 };
    (width + 2.0 * (PAD.0 + slopes), lines.len() as f64 * TEXT + 2.0 * PAD.1)
}

/// The size of a box in the picture: one with many lines grows, to have room for their ends.
fn node_size(picture: &Picture, node: NodeIndex) -> Size {
    let (width, height) = box_size(&picture[node]);
    let lines = [Incoming, Outgoing].map(|side| picture.edges_directed(node, side).count());
    let ends = lines.into_iter().max().unwrap_or(0) as f64 * PORT;
    (width, height.max(ends.min(MOST_FOR_PORTS)))
}

fn label_size(link: &Link) -> Option<Size> {
    let lines = link.variants.iter().map(std::slice::from_ref).map(width_of);
    let width = lines.reduce(f64::max)?;
    Some((width + 8.0, link.variants.len() as f64 * TEXT))
}

pub(super) fn shape(svg: &mut String, shape: &Shape, Rect { x, y, width: w, height: h }: Rect) {
    let _ = write!(svg, "<g class=\"{}{}\">", shape.kind.word(), shape.state.class());
    let c = CORNER;
    let _ = match shape.kind {
        Kind::Interface => write!(
            svg,
            "<path class=\"shape\" d=\"M{:.1} {y:.1}h{:.1}l{c} {:.1}l-{c} {:.1}h-{:.1}l-{c} -{:.1}z\"/>",
            x + c,
            w - 2.0 * c,
            h / 2.0,
            h / 2.0,
            w - 2.0 * c,
            h / 2.0,
        ),
        Kind::Test => write!(
            svg,
            "<path class=\"shape\" d=\"M{x:.1} {y:.1}h{:.1}l{c} {c}v{:.1}h-{w:.1}z\
             m{:.1} 0v{c}h{c}\"/>",
            w - c,
            h - c,
            w - c,
        ),
        kind => write!(
            svg,
            "<rect class=\"shape\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{w:.1}\" height=\"{h:.1}\" \
             rx=\"{}\"/>",
            if kind == Kind::Driver { 9 } else { 0 },
        ),
    };
    let lines = text_of(shape);
    let top = y + (h - lines.len() as f64 * TEXT) / 2.0;
    for (number, line) in lines.iter().enumerate() {
        let y = top + TEXT * (number as f64 + 0.5);
        let title = if number == 0 && shape.title.is_some() { " class=\"title\"" } else { "" };
        let x = x + if shape.kind == Kind::Interface { CORNER } else { 0.0 } + PAD.0;
        text(svg, x, y, title, line, shape.state);
    }
    svg.push_str("</g>\n");
}

/// Items, those of them marked that do not do as the whole does.
pub(super) fn text(svg: &mut String, x: f64, y: f64, class: &str, items: &[Item], whole: State) {
    let _ = write!(svg, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">");
    for (number, (item, state)) in items.iter().enumerate() {
        let blank = if number > 0 { " " } else { "" };
        let item = escape(item);
        let _ = match state.class().trim_start() {
            class if *state != whole && !class.is_empty() => {
                write!(svg, "{blank}<tspan class=\"{class}\">{item}</tspan>")
            }
            _ => write!(svg, "{blank}{item}"),
        };
    }
    svg.push_str("</text>");
}

pub(super) fn line(svg: &mut String, link: &Link, route: &Route, ends: &[&str; 2]) {
    let word = link.kind.word();
    let [from, to] = ends.map(escape);
    let _ =
        write!(svg, "<g class=\"{word}{}\"><title>{from} {word} {to}</title>", link.state.class());
    let (start, _, y) = route.parts[0];
    let last = route.parts[route.parts.len() - 1];
    let (tip, height) = if route.backward { (start, y) } else { (last.0, last.2) };
    if start > last.0 {
        // A box's line to itself runs around the box.
        let (left, right, over) = (last.0 - 16.0, start + 16.0, y - 34.0);
        let _ = write!(
            svg,
            "<path class=\"line\" d=\"M{start:.1} {y:.1}C{right:.1} {y:.1} {right:.1} {over:.1} \
             {start:.1} {over:.1}H{:.1}C{left:.1} {over:.1} {left:.1} {y:.1} {:.1} {y:.1}\"/>",
            last.0, last.0,
        );
    } else {
        let mut path = format!("M{start:.1} {y:.1}");
        for pair in route.parts.windows(2) {
            let ((_, x, y), (next, right, height)) = (pair[0], pair[1]);
            let middle = (x + next) / 2.0;
            let _ = write!(
                path,
                "C{middle:.1} {y:.1} {middle:.1} {height:.1} {next:.1} {height:.1}H{right:.1}"
            );
        }
        let _ = write!(svg, "<path class=\"line\" d=\"{path}\"/>");
    }
    let back = if route.backward && start <= last.0 { 8.0 } else { -8.0 };
    let close = if link.kind == EdgeKind::ConsumedBy { "" } else { "z" };
    let _ = write!(
        svg,
        "<path class=\"tip\" d=\"M{:.1} {:.1}L{tip:.1} {height:.1}L{:.1} {:.1}{close}\"/>",
        tip + back,
        height - 4.0,
        tip + back,
        height + 4.0,
    );
    if let Some(Rect { x, y, width, height }) = route.label {
        let _ = write!(
            svg,
            "<rect class=\"plate\" x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" \
             height=\"{height:.1}\"/>"
        );
        for (number, variant) in link.variants.iter().enumerate() {
            let y = y + TEXT * (number as f64 + 0.5);
            text(svg, x + 4.0, y, "", std::slice::from_ref(variant), link.state);
        }
    }
    svg.push_str("</g>\n");
}
