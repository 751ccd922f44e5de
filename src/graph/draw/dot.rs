//! The picture as DOT, for Graphviz.

use std::fmt::Write;

use petgraph::dot::{Config, Dot};

use super::picture::{Item, Link, Shape, escape};
use super::{Drawing, State};
use crate::graph::{EdgeKind, Kind};

const GREY: &str = "#9199a3";

impl Drawing {
    /// The picture as text for Graphviz, `dot -Tpdf`.
    pub fn dot(&self) -> String {
        let picture = self.picture();
        let config = [Config::GraphContentOnly, Config::NodeNoLabel, Config::EdgeNoLabel];
        let edge = |_, edge: petgraph::graph::EdgeReference<Link>| link(edge.weight());
        let node = |_, (_, shape): (_, &Shape)| node(shape);
        let content = Dot::with_attr_getters(&picture, &config, &edge, &node);
        let mut dot = String::from(
            "digraph qgraph {\n    graph [rankdir=LR, bgcolor=white, fontname=monospace, \
             ranksep=0.7, nodesep=0.15]\n    node [fontname=monospace, fontsize=10, height=0.25]\n    \
             edge [fontname=monospace, fontsize=9]\n",
        );
        let _ = write!(dot, "{content:?}");
        legend(&mut dot, self.emulators.is_empty());
        dot.push_str("}\n");
        dot
    }
}

/// An HTML-like label: lines of items, the unavailable ones grey.
fn label(title: Option<&str>, lines: &[Vec<Item>]) -> String {
    let title = title.map(|title| format!("<b>{}</b>", escape(title)));
    let lines = lines.iter().map(|line| {
        let items = line.iter().map(|(text, state)| match state {
            State::Missing => format!("<font color=\"{GREY}\">{}</font>", escape(text)),
            _ => escape(text),
        });
        items.collect::<Vec<_>>().join(" ")
    });
    // A suite that is its own only case has a title and no lines.
    let lines: Vec<String> =
        title.into_iter().chain(lines).filter(|line| !line.is_empty()).collect();
    format!("label=<{}>", lines.join("<br align=\"left\"/>") + "<br align=\"left\"/>")
}

fn node(shape: &Shape) -> String {
    let (form, style, fill, border, text) = match shape.kind {
        Kind::Machine => ("box", "filled", "#1f4e8c", "#163a69", "white"),
        Kind::Driver => ("box", "rounded,filled", "#ffdf9e", "#a86a00", "black"),
        Kind::Interface => ("hexagon", "filled", "#f3ecff", "#6b3fc4", "black"),
        Kind::Test => ("note", "filled", "#d5f0d8", "#2e7d3a", "black"),
        Kind::Undeclared => ("box", "dotted", "white", "#c62828", "black"),
    };
    let label = label(shape.title.as_deref(), &shape.lines());
    let width = if shape.kind == Kind::Interface { 2.0 } else { 1.0 };
    match shape.state {
        State::Missing => format!(
            "{label}, shape={form}, style=\"{style},dashed\", fillcolor=\"#f6f7f8\", \
             color=\"#b4bac2\", fontcolor=\"{GREY}\""
        ),
        _ => format!(
            "{label}, shape={form}, style=\"{style}\", fillcolor=\"{fill}\", color=\"{border}\", \
             fontcolor={text}, penwidth={width}"
        ),
    }
}

fn link(link: &Link) -> String {
    let (style, color, width, tip) = match link.kind {
        EdgeKind::Contains => ("solid", "#1f4e8c", 2.4, "normal"),
        EdgeKind::Produces => ("solid", "#6b3fc4", 1.0, "normal"),
        EdgeKind::ConsumedBy => ("dashed", "#2e7d3a", 1.0, "vee"),
    };
    let color = if link.state == State::Missing { "#cfd4da" } else { color };
    let label = match link.variants.as_slice() {
        [] => String::new(),
        variants => {
            let lines: Vec<_> = variants.iter().map(|variant| vec![variant.clone()]).collect();
            format!(", {}", label(None, &lines))
        }
    };
    format!("style={style}, color=\"{color}\", penwidth={width}, arrowhead={tip}{label}")
}

/// A path of one box of each kind.
fn legend(dot: &mut String, unknown: bool) {
    dot.push_str("    subgraph cluster_legend {\n        label=\"legend\"; color=\"#b4bac2\"\n");
    let mut put = |name: &str, kind, text: &str, state| {
        let names = vec![(text.to_owned(), state)];
        let _ = writeln!(
            dot,
            "        legend_{name} [ {} ]",
            node(&Shape { kind, title: None, names, state })
        );
    };
    for kind in [Kind::Machine, Kind::Driver, Kind::Interface, Kind::Test] {
        put(kind.word(), kind, kind.word(), State::Plain);
    }
    if !unknown {
        put("off", Kind::Driver, "no emulator at hand has it", State::Missing);
    } else {
        let text = "no emulator was asked what it has";
        let _ = writeln!(dot, "        legend_off [ label=\"{text}\", shape=plaintext ]");
    }
    for (from, kind, to) in [
        ("machine", EdgeKind::Contains, "driver"),
        ("driver", EdgeKind::Produces, "interface"),
        ("interface", EdgeKind::ConsumedBy, "test"),
    ] {
        let attributes = link(&Link { kind, variants: Vec::new(), state: State::Plain });
        let word = kind.word();
        let _ = writeln!(
            dot,
            "        legend_{from} -> legend_{to} [ {attributes}, label=\"{word}\" ]"
        );
    }
    dot.push_str("    }\n");
}
