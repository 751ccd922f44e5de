//! The picture as SVG: a file of its own, with its colours for a light and a dark screen.
//!
//! Kinds differ in shape and in brightness, not in colour alone, so that a grey print
//! tells them apart.

use std::fmt::Write;

use petgraph::graph::NodeIndex;
use petgraph::{Incoming, Outgoing};

use super::Drawing;
use super::layout::{self, Rect, Route, Size};
use super::picture::{Item, Link, Picture, Shape, escape};
use crate::graph::{EdgeKind, Kind};

/// Width of a character and height of a line of text, in pixels, at the size that the
/// style sets.
const CHARACTER: f64 = 6.63;
const TEXT: f64 = 15.0;
/// Between a box's border and its text.
const PAD: Size = (9.0, 5.0);
/// Around the picture.
const MARGIN: f64 = 24.0;
/// The slope at the sides of an interface and the folded corner of a suite.
const CORNER: f64 = 8.0;

/// What the end of a line takes of a box's height, and how high a box gets for that.
const PORT: f64 = 7.0;
const MOST_FOR_PORTS: f64 = 120.0;

/// Light colours first. Every viewer knows these rules; not every one knows variables.
const STYLE: &str = "\
text{font:11px 'DejaVu Sans Mono',Menlo,Consolas,'Liberation Mono',monospace;fill:#14181f;\
dominant-baseline:central}
.paper{fill:#fff}
.head{font-size:15px;font-weight:bold}
.note{fill:#4a5361}
.title{font-weight:bold}
.shape{stroke-width:1.3}
.machine .shape{fill:#1f4e8c;stroke:#163a69}
.machine text{fill:#fff}
.driver .shape{fill:#ffdf9e;stroke:#a86a00}
.interface .shape{fill:#f3ecff;stroke:#6b3fc4;stroke-width:2}
.test .shape{fill:#d5f0d8;stroke:#2e7d3a}
.undeclared .shape{fill:#fff;stroke:#c62828;stroke-width:2;stroke-dasharray:2 3}
.line{fill:none}
.contains .line{stroke:#1f4e8c;stroke-width:2.6}
.produces .line{stroke:#6b3fc4;stroke-width:1.3}
.consumed-by .line{stroke:#2e7d3a;stroke-width:1.3;stroke-dasharray:5 3}
.contains .tip{fill:#1f4e8c}
.produces .tip{fill:#6b3fc4}
.consumed-by .tip{fill:none;stroke:#2e7d3a;stroke-width:1.5}
.plate{fill:#fff;stroke:none}
.off .shape{fill:#f6f7f8;stroke:#b4bac2;stroke-dasharray:3 3;stroke-width:1}
.off .line{stroke:#cfd4da}
.off .tip{fill:#cfd4da}
.off.consumed-by .tip{fill:none;stroke:#cfd4da}
.off text,text .off{fill:#9199a3}
.machine text .off{fill:#a9bdd8}
.machine.off text .off{fill:#9199a3}
@media(prefers-color-scheme:dark){
text{fill:#e8eaee}
.paper,.plate,.undeclared .shape{fill:#14171c}
.note{fill:#a9b1bd}
.machine .shape{fill:#8db8f2;stroke:#c3dafa}
.machine text{fill:#0b1b30}
.driver .shape{fill:#5d430e;stroke:#e0a93a}
.interface .shape{fill:#2a2140;stroke:#b79af5}
.test .shape{fill:#1d3f24;stroke:#6cc07a}
.contains .line{stroke:#8db8f2}
.produces .line{stroke:#b79af5}
.consumed-by .line{stroke:#6cc07a}
.contains .tip{fill:#8db8f2}
.produces .tip{fill:#b79af5}
.consumed-by .tip{fill:none;stroke:#6cc07a}
.off .shape{fill:#191d22;stroke:#4a515b}
.off .line{stroke:#3a4049}
.off .tip{fill:#3a4049}
.off.consumed-by .tip{fill:none;stroke:#3a4049}
.off text,text .off{fill:#7b838e}
.machine text .off{fill:#4f6c92}
.machine.off text .off{fill:#7b838e}
}
";

impl Drawing {
    /// The picture as a file for a browser.
    pub fn svg(&self) -> String {
        let picture = self.picture();
        let layout = layout::place(&picture, |node| node_size(&picture, node), label_size);
        let legend = legend(&picture, self.emulators.is_empty());
        let title = format!("{} nodes, {} edges", self.nodes.len(), self.edges.len());

        let top = MARGIN + 26.0;
        let down = top + legend.height + 30.0;
        let width = layout.width.max(legend.width) + 2.0 * MARGIN;
        let height = down + layout.height + MARGIN;
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" \
             height=\"{height:.0}\" viewBox=\"0 0 {width:.0} {height:.0}\">\n\
             <title>qgraph: {title}</title>\n<style>\n{STYLE}</style>\n\
             <rect class=\"paper\" width=\"100%\" height=\"100%\"/>\n\
             <text class=\"head\" x=\"{MARGIN}\" y=\"{MARGIN}\">qgraph</text>\n\
             <text class=\"note\" x=\"{:.1}\" y=\"{MARGIN}\">{title}</text>\n",
            MARGIN + 70.0,
        );
        group(&mut svg, MARGIN, top, &legend.text);
        let mut body = String::new();
        // What is available lies above what is not, and boxes above lines.
        let mut edges: Vec<_> = picture.edge_indices().collect();
        edges.sort_by_key(|&edge| picture[edge].available);
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

fn width_of(line: &[Item]) -> f64 {
    let characters: usize = line.iter().map(|(text, _)| text.chars().count() + 1).sum();
    characters.saturating_sub(1) as f64 * CHARACTER
}

/// The lines of a box, its title first.
fn text_of(shape: &Shape) -> Vec<Vec<Item>> {
    let title = shape.title.iter().map(|title| vec![(title.clone(), true)]);
    title.chain(shape.lines()).collect()
}

fn box_size(shape: &Shape) -> Size {
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

fn class(available: bool) -> &'static str {
    if available { "" } else { " off" }
}

fn shape(svg: &mut String, shape: &Shape, Rect { x, y, width: w, height: h }: Rect) {
    let _ = write!(svg, "<g class=\"{}{}\">", shape.kind.word(), class(shape.available));
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
        text(svg, x, y, title, line);
    }
    svg.push_str("</g>\n");
}

fn text(svg: &mut String, x: f64, y: f64, class: &str, items: &[Item]) {
    let _ = write!(svg, "<text{class} x=\"{x:.1}\" y=\"{y:.1}\">");
    for (number, (item, available)) in items.iter().enumerate() {
        let blank = if number > 0 { " " } else { "" };
        let _ = match available {
            true => write!(svg, "{blank}{}", escape(item)),
            false => write!(svg, "{blank}<tspan class=\"off\">{}</tspan>", escape(item)),
        };
    }
    svg.push_str("</text>");
}

fn line(svg: &mut String, link: &Link, route: &Route, ends: &[&str; 2]) {
    let word = link.kind.word();
    let [from, to] = ends.map(escape);
    let _ = write!(
        svg,
        "<g class=\"{word}{}\"><title>{from} {word} {to}</title>",
        class(link.available)
    );
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
            text(svg, x + 4.0, y, "", std::slice::from_ref(variant));
        }
    }
    svg.push_str("</g>\n");
}

/// The legend, drawn at 0, 0, and how big it is.
struct Legend {
    text: String,
    width: f64,
    height: f64,
}

/// A path of one box of each kind, and what else needs a word.
fn legend(picture: &Picture, unknown: bool) -> Legend {
    let sample = |kind, name: &str, available| Shape {
        kind,
        title: None,
        names: vec![(name.to_owned(), available)],
        available,
    };
    let mut text = String::new();
    let mut x = 0.0;
    let height = TEXT + 2.0 * PAD.1;
    let put = |svg: &mut String, x: &mut f64, sample: Shape| {
        let (width, height) = box_size(&sample);
        shape(svg, &sample, Rect { x: *x, y: 0.0, width, height });
        *x += width;
    };
    put(&mut text, &mut x, sample(Kind::Machine, "machine", true));
    for (edge, to) in [
        (EdgeKind::Contains, Kind::Driver),
        (EdgeKind::Produces, Kind::Interface),
        (EdgeKind::ConsumedBy, Kind::Test),
    ] {
        let word = edge.word();
        let room = width_of(&[(word.to_owned(), true)]) + 34.0;
        let parts = vec![(x, x, height / 2.0), (x + room, x + room, height / 2.0)];
        let route = Route { parts, backward: false, label: None };
        let link = Link { kind: edge, variants: Vec::new(), available: true };
        line(&mut text, &link, &route, &["", ""]);
        note(&mut text, x + 13.0, -2.0, word);
        x += room;
        put(&mut text, &mut x, sample(to, to.word(), true));
    }
    x += 28.0;
    let say = |svg: &mut String, x: &mut f64, words: &str| {
        note(svg, *x, height / 2.0, words);
        *x += width_of(&[(words.to_owned(), true)]) + 28.0;
    };
    if picture.edge_weights().any(|link| !link.variants.is_empty()) {
        say(&mut text, &mut x, ":name a variant");
    }
    if picture.node_weights().any(|shape| shape.kind == Kind::Undeclared) {
        put(&mut text, &mut x, sample(Kind::Undeclared, "declared nowhere", true));
        x += 28.0;
    }
    if unknown {
        say(&mut text, &mut x, "no emulator was asked what it has");
    } else {
        put(&mut text, &mut x, sample(Kind::Driver, "no emulator at hand has it", false));
    }
    Legend { text, width: x, height }
}

fn note(svg: &mut String, x: f64, y: f64, words: &str) {
    text(svg, x, y, " class=\"note\"", &[(words.to_owned(), true)]);
}
