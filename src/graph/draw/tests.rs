//! Tests of the drawing, on graphs made here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::picture::escape;
use super::*;
use crate::graph::{
    Addition, Declarations, EdgeDecl, MachineDecl, NodeDecl, Offer, QemuArgs, Setup, TestDecl,
};
use crate::qemu::{MIB, MachineType, RamSpec};

fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

fn machine(name: &'static str) -> &'static MachineDecl {
    let setup = Setup::bare(RamSpec::new(0, MIB));
    leak(MachineDecl {
        names: leak([name]),
        setup,
        type_name: || "",
        boot: |_| unreachable!("nothing boots here"),
    })
}

fn node(name: &'static str, interface: bool) -> &'static NodeDecl {
    leak(NodeDecl { names: leak([name]), aliases: &[], interface, counts_as: None, module: "" })
}

fn edge(from: &'static str, kind: EdgeKind, to: &'static str) -> &'static EdgeDecl {
    let offers = match kind {
        EdgeKind::ConsumedBy => || {
            let variant = Addition::properties(&["disable-legacy=on"]);
            let plain = Offer { args: QemuArgs::DEVICE, ..Offer::NOTHING };
            vec![plain, Offer { name: "modern", variant, ..plain }]
        },
        _ => || vec![Offer::NOTHING],
    };
    leak(EdgeDecl {
        from: leak([from]),
        to: leak([to]),
        kind,
        offers,
        follow: |_, _, _| unreachable!("nothing is attached here"),
    })
}

fn test(name: &'static str, of: &'static str) -> &'static TestDecl {
    leak(TestDecl {
        name,
        of: leak([of]),
        args: QemuArgs::NONE,
        file: "",
        module: "",
        errs: false,
        run: |_, _| Ok(()),
    })
}

/// Two machines, of which only `x/pc` has the bus that `dev` is plugged into; `y/pc` and
/// `y/twin` are alike.
fn declarations() -> Declarations {
    use EdgeKind::{ConsumedBy, Contains, Produces};
    Declarations {
        machines: vec![machine("x/pc"), machine("y/pc"), machine("y/twin")],
        nodes: vec![node("host", false), node("soc", false), node("dev", false)]
            .into_iter()
            .chain([node("bus", true), node("face", true)])
            .collect(),
        edges: vec![
            edge("x/pc", Contains, "host"),
            edge("host", Produces, "bus"),
            edge("bus", ConsumedBy, "dev"),
            edge("dev", Produces, "face"),
            edge("y/pc", Contains, "soc"),
            edge("y/twin", Contains, "soc"),
            edge("soc", Produces, "face"),
        ],
        tests: vec![
            test("dev-tests/one", "dev"),
            test("face-tests/a/b", "face"),
            test("face-tests/c", "face"),
        ],
    }
}

fn capabilities(arch: &str, machines: &[&str], devices: &[&str]) -> Capabilities {
    Capabilities {
        arch: arch.to_owned(),
        machines: machines.iter().map(|&m| (m.to_owned(), MachineType::default())).collect(),
        devices: devices.iter().map(|&d| d.to_owned()).collect(),
        ..Capabilities::default()
    }
}

fn all(_: &str) -> bool {
    true
}

/// A drawing of boxes `kind`, `name` and lines between them.
fn drawing(nodes: &[(Kind, &str)], edges: &[(usize, EdgeKind, usize, &str)]) -> Drawing {
    let nodes = nodes.iter().map(|&(kind, name)| {
        let name = name.to_owned();
        DrawnNode { name, kind, emulators: Vec::new() }
    });
    let edges = edges.iter().map(|&(from, kind, to, variant)| {
        let variant = variant.to_owned();
        DrawnEdge { kind, from, to, variant, options: Vec::new(), emulators: Vec::new() }
    });
    Drawing { nodes: nodes.collect(), edges: edges.collect(), ..Drawing::default() }
}

/// 4 machines, a bus, `devices` devices on it with an interface and a suite of 5 cases
/// each, and an interface that all devices share.
fn large(devices: usize) -> Drawing {
    let mut nodes = vec![(Kind::Interface, "bus".to_owned()), (Kind::Interface, "any".to_owned())];
    let mut edges = Vec::new();
    for machine in 0..4 {
        nodes.push((Kind::Machine, format!("x/machine-{machine}")));
        nodes.push((Kind::Driver, format!("host-{machine}")));
        edges.push((nodes.len() - 2, EdgeKind::Contains, nodes.len() - 1, ""));
        edges.push((nodes.len() - 1, EdgeKind::Produces, 0, ""));
    }
    for device in 0..devices {
        let at = nodes.len();
        nodes.push((Kind::Driver, format!("device-{device}")));
        nodes.push((Kind::Interface, format!("face-{device}")));
        edges.push((0, EdgeKind::ConsumedBy, at, ""));
        if device % 3 == 0 {
            edges.push((0, EdgeKind::ConsumedBy, at, "modern"));
            edges.push((0, EdgeKind::ConsumedBy, at, "packed"));
        }
        edges.push((at, EdgeKind::Produces, at + 1, ""));
        edges.push((at, EdgeKind::Produces, 1, ""));
        for case in 0..5 {
            nodes.push((Kind::Test, format!("face-{device}-tests/case-{case}")));
            let of = if case < 4 { at + 1 } else { at };
            edges.push((of, EdgeKind::ConsumedBy, nodes.len() - 1, ""));
        }
    }
    let nodes: Vec<_> = nodes.iter().map(|(kind, name)| (*kind, name.as_str())).collect();
    drawing(&nodes, &edges)
}

/// Would catch a node or an edge that is lost, a direction or a kind that is wrong, and
/// something called available that no path from an available machine leads to.
#[test]
fn data_holds_every_node_and_edge_and_what_is_available() {
    let model = Model::new(&declarations());
    // `y` has the device, but no machine with a bus to plug it into.
    let (x, y) = (capabilities("x", &["pc"], &[]), capabilities("y", &["pc"], &["dev"]));
    let emulators = [("qemu-x".to_owned(), &x), ("qemu-y".to_owned(), &y)];
    let data = model.drawing(&emulators, all).json();
    let nodes: BTreeMap<_, _> = data["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (node["name"].as_str().unwrap(), (&node["kind"], &node["emulators"])))
        .collect();
    assert_eq!(nodes.len(), 11);
    assert_eq!(nodes["x/pc"], (&json!("machine"), &json!(["qemu-x"])));
    assert_eq!(nodes["y/twin"], (&json!("machine"), &json!([])));
    assert_eq!(nodes["bus"], (&json!("interface"), &json!(["qemu-x"])));
    assert_eq!(nodes["dev"], (&json!("driver"), &json!([])), "y has it, and nowhere to plug it in");
    assert_eq!(nodes["dev-tests/one"], (&json!("test"), &json!([])));
    assert_eq!(nodes["face-tests/a/b"], (&json!("test"), &json!(["qemu-y"])));
    let edges = data["edges"].as_array().unwrap();
    assert_eq!(edges.len(), 7 + 1 + 3);
    let find = |variant: Value| {
        let wanted = |e: &&Value| e["to"] == "dev" && e["variant"] == variant;
        edges.iter().find(wanted).unwrap().clone()
    };
    assert_eq!(
        find(json!("modern")),
        json!({
            "kind": "consumed-by", "from": "bus", "to": "dev", "variant": "modern",
            "options": ["-device", "dev,disable-legacy=on"], "available": false, "emulators": [],
        })
    );
    assert_eq!(find(Value::Null)["options"], json!(["-device", "dev"]));
    let of_face = edges.iter().find(|e| e["to"] == "face-tests/c").unwrap();
    assert_eq!(of_face["kind"], "consumed-by");
    assert_eq!(of_face["options"], json!([]));
    assert_eq!(of_face["available"], true);
}

/// Would catch "not available" said where nobody was asked.
#[test]
fn without_an_emulator_nothing_is_known_and_nothing_grey() {
    let drawing = Model::new(&declarations()).drawing(&[], all);
    assert_eq!(drawing.json()["nodes"][0]["available"], Value::Null);
    assert!(drawing.picture().node_weights().all(|shape| shape.state == State::Plain));
    assert!(drawing.svg().contains("no emulator was asked"));
    assert!(drawing.dot().contains("no emulator was asked"));
}

/// Would catch a machine that was not asked for, or a part of the graph that only such a
/// machine leads to.
#[test]
fn one_machine_shows_what_it_leads_to() {
    let model = Model::new(&declarations());
    let data = model.drawing(&[], |machine| machine == "y/pc").json();
    let names: Vec<_> =
        data["nodes"].as_array().unwrap().iter().map(|n| n["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["face", "face-tests/a/b", "face-tests/c", "soc", "y/pc"]);
    assert_eq!(data["edges"].as_array().unwrap().len(), 4);
    assert!(model.drawing(&[], |_| false).is_empty());
}

/// Would catch nodes in one box that lead to different places, and cases of a suite that
/// are spread over boxes.
#[test]
fn like_nodes_share_a_box() {
    let y = capabilities("y", &["pc"], &[]);
    let picture = Model::new(&declarations()).drawing(&[("q".to_owned(), &y)], all).picture();
    let boxes: Vec<Vec<&str>> = picture
        .node_weights()
        .map(|shape| {
            let names = shape.names.iter().map(|(name, _)| name.as_str());
            shape.title.as_deref().into_iter().chain(names).collect()
        })
        .collect();
    assert_eq!(
        boxes,
        [
            vec!["bus"],
            vec!["dev"],
            vec!["dev-tests", "one"],
            vec!["face"],
            vec!["face-tests", "a/b", "c"],
            vec!["host"],
            vec!["soc"],
            vec!["x/pc"],
            vec!["y/pc", "y/twin"],
        ]
    );
    let twins = picture.node_weights().last().unwrap();
    assert_eq!(twins.state, State::Plain);
    assert_eq!(
        twins.names,
        [("y/pc".to_owned(), State::Plain), ("y/twin".to_owned(), State::Missing)]
    );
    let named: Vec<_> = picture.edge_weights().filter(|link| !link.variants.is_empty()).collect();
    assert_eq!(named.len(), 1);
    assert_eq!(named[0].variants, [(":modern".to_owned(), State::Missing)]);
}

/// Would catch a box, a name among others or a line that looks available and is not.
#[test]
fn what_is_not_available_is_grey() {
    let y = capabilities("y", &["pc"], &[]);
    let drawing = Model::new(&declarations()).drawing(&[("q".to_owned(), &y)], all);
    let svg = drawing.svg();
    assert!(svg.contains("<g class=\"machine off\">"), "x/pc");
    assert!(svg.contains("<tspan class=\"off\">y/twin</tspan>"));
    assert!(!svg.contains("<tspan class=\"off\">y/pc</tspan>"));
    assert!(svg.contains("<g class=\"consumed-by off\"><title>bus consumed-by dev</title>"));
    assert!(svg.contains("<g class=\"produces\"><title>soc produces face</title>"));
    let dot = drawing.dot();
    assert!(dot.contains("label=<<font color=\"#9199a3\">x/pc</font><br align=\"left\"/>>"));
    assert!(dot.contains("label=<y/pc<br align=\"left\"/><font color=\"#9199a3\">y/twin</font>"));
}

/// Would catch a name that breaks the file it stands in.
#[test]
fn odd_names_are_escaped() {
    let odd = "a\"b<i>&'c>\\\u{7}\n];";
    let escaped = "a&quot;b&lt;i&gt;&amp;&#39;c&gt;\\\u{fffd}\u{fffd}];";
    assert_eq!(escape(odd), escaped);
    let nodes = [
        (Kind::Machine, odd),
        (Kind::Undeclared, "<undeclared>"),
        (Kind::Test, "<s>-tests/<case>"),
        (Kind::Test, "alone"),
    ];
    let drawing = drawing(&nodes, &[(0, EdgeKind::Contains, 1, "<v>")]);
    for text in [drawing.svg(), drawing.dot()] {
        assert!(text.contains(escaped), "{text}");
        for (raw, good) in
            [(odd, ""), ("<undeclared>", "&lt;undeclared&gt;"), ("<v>", ":&lt;v&gt;")]
        {
            assert!(!text.contains(raw) && text.contains(good), "{raw}\n{text}");
        }
        assert!(!text.contains("<s>") && text.contains("&lt;s&gt;-tests"), "{text}");
        assert!(!text.contains("<case>") && text.contains("&lt;case&gt;"), "{text}");
    }
    assert_eq!(drawing.json()["nodes"][0]["name"], odd);
}

/// Would catch an order that is left to the linker or to a hash map.
#[test]
fn equal_graphs_make_equal_files() {
    let write = |declarations: &Declarations| {
        let drawing = Model::new(declarations).drawing(&[], all);
        (drawing.json().to_string(), drawing.dot(), drawing.svg())
    };
    let mut other = declarations();
    let written = write(&other);
    other.machines.reverse();
    other.nodes.reverse();
    other.edges.reverse();
    other.tests.reverse();
    assert_eq!(write(&other), written);
    assert_eq!(large(40).svg(), large(40).svg());
}

/// Would catch boxes that lie on each other, lines that run through boxes or out of the
/// picture, a test that is not in the last column, and a machine that is not in the first.
#[test]
fn a_large_picture_is_readable() {
    let drawing = large(42);
    assert_eq!(drawing.nodes.len(), 304);
    let picture = drawing.picture();
    let layout = layout::place(
        &picture,
        |node| (60.0 + 9.0 * (node.index() % 7) as f64, 20.0 + 15.0 * (node.index() % 4) as f64),
        |link| (!link.variants.is_empty()).then_some((50.0, 15.0 * link.variants.len() as f64)),
    );
    let things: Vec<_> = picture.node_indices().map(|node| layout.boxes[node.index()]).collect();
    let labels = layout.routes.iter().filter_map(|route| route.label);
    assert_eq!(labels.clone().count(), 14);
    let things: Vec<layout::Rect> = things.into_iter().chain(labels).collect();
    for (number, a) in things.iter().enumerate() {
        assert!(a.x >= 0.0 && a.y >= 0.0, "{a:?}");
        assert!(a.x + a.width <= layout.width && a.y + a.height <= layout.height, "{a:?}");
        for b in &things[number + 1..] {
            let apart = a.x + a.width <= b.x
                || b.x + b.width <= a.x
                || a.y + a.height <= b.y
                || b.y + b.height <= a.y;
            assert!(apart, "{a:?} {b:?}");
        }
    }
    for route in &layout.routes {
        for &(left, right, y) in &route.parts {
            let through = |rect: &layout::Rect| {
                left < rect.x + rect.width
                    && right > rect.x
                    && y > rect.y
                    && y < rect.y + rect.height
            };
            let own = |rect: &layout::Rect| Some(*rect) == route.label;
            assert!(!things.iter().any(|rect| through(rect) && !own(rect)), "{route:?}");
        }
    }
    let left = |node: petgraph::graph::NodeIndex| layout.boxes[node.index()].x;
    let last = picture.node_indices().map(left).fold(0.0, f64::max);
    for node in picture.node_indices() {
        match picture[node].kind {
            Kind::Machine => assert_eq!(left(node), 0.0),
            Kind::Test => assert_eq!(left(node), last),
            _ => assert!(left(node) > 0.0 && left(node) < last),
        }
    }
}

/// Would catch a bus bridge, a node on itself, a graph in pieces or an empty one that
/// cannot be drawn.
#[test]
fn cycles_and_pieces_are_drawn() {
    let nodes = [
        (Kind::Driver, "bridge"),
        (Kind::Interface, "bus"),
        (Kind::Driver, "lonely"),
        (Kind::Machine, "x/pc"),
        (Kind::Test, "bus-tests/one"),
    ];
    let edges = [
        (3, EdgeKind::Produces, 1, ""),
        (1, EdgeKind::ConsumedBy, 0, ""),
        (0, EdgeKind::Produces, 1, ""),
        (0, EdgeKind::ConsumedBy, 0, "again"),
        (1, EdgeKind::ConsumedBy, 4, ""),
    ];
    let drawing = drawing(&nodes, &edges);
    let picture = drawing.picture();
    let layout = layout::place(&picture, |_| (60.0, 24.0), |_| None);
    let x: Vec<f64> = layout.boxes.iter().map(|rect| rect.x).collect();
    assert!(x[3] < x[1] && x[1] < x[0], "machine, bus, bridge: {x:?}");
    assert_eq!(layout.routes.iter().filter(|route| route.backward).count(), 2);
    assert!(drawing.svg().ends_with("</svg>\n"));
    assert!(Drawing::default().svg().ends_with("</svg>\n"));
    assert!(Drawing::default().dot().ends_with("}\n"));
}

/// Would catch a failure that the picture hides, blames on what other paths pass over, or
/// shows where nothing ran, and a path of another graph that spoils the picture.
#[test]
fn a_run_colours_what_it_went_over() {
    let drawing = Model::new(&declarations()).drawing(&[], all).after([
        ("/x/pc/host/bus/dev/face/face-tests/c", State::Failed),
        ("/x/pc/host/bus/dev:modern/face/face-tests/c", State::Passed),
        ("/y/pc/soc/face/face-tests/a/b", State::Plain),
        ("/y/pc/soc/face/face-tests/a", State::Failed),
        ("/no/such/path", State::Failed),
        ("nonsense", State::Failed),
    ]);
    let state = |name: &str| {
        let node = drawing.nodes.iter().position(|node| node.name == name).unwrap();
        drawing.node_state(node)
    };
    assert_eq!([state("x/pc"), state("dev"), state("face")], [State::Mixed; 3]);
    assert_eq!([state("y/pc"), state("soc"), state("face-tests/a/b")], [State::Plain; 3]);
    assert_eq!([state("y/twin"), state("dev-tests/one")], [State::Missing; 2]);
    assert_eq!(state("face-tests/c"), State::Mixed);
    let edges: Vec<State> = (0..drawing.edges.len())
        .filter(|&edge| drawing.nodes[drawing.edges[edge].to].name == "dev")
        .map(|edge| drawing.edge_state(edge))
        .collect();
    assert_eq!(edges, [State::Failed, State::Passed]);

    let svg = drawing.svg();
    assert!(svg.contains("<g class=\"machine mixed\">") && svg.contains("<g class=\"machine\">"));
    assert!(svg.contains("<tspan class=\"passed\">:modern</tspan>"), "{svg}");
    assert!(svg.contains(">did not run<") && !svg.contains("no emulator"), "{svg}");
    let ran = drawing.without_missing();
    assert!(ran.is_all_run() && !drawing.is_all_run());
    let names: Vec<&str> = ran.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(
        names,
        ["bus", "dev", "face", "face-tests/a/b", "face-tests/c", "host", "soc", "x/pc", "y/pc"]
    );
    assert_eq!(ran.edges.len(), 9);
    assert!(!ran.svg().contains("did not run"), "{}", ran.svg());
}

/// Would catch a part of the graph that has more than its paths, or less, and an edge that is
/// drawn between other nodes once some are left out.
#[test]
fn only_what_is_on_the_paths() {
    let model = Arc::new(Model::new(&declarations()));
    let paths = || model.walk(None, |_| true);
    let drawn = |wanted: &str| {
        let wanted = wanted.to_owned();
        let of = paths().filter(move |path| path.name().contains(&wanted));
        let data = model.drawing(&[], all).of_paths(of).json();
        let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
        let nodes = data["nodes"].as_array().unwrap().iter().map(|it| text(it, "name"));
        let edges = data["edges"].as_array().unwrap().iter();
        let edges = edges
            .map(|it| format!("{} {} {}", text(it, "from"), text(it, "to"), text(it, "variant")));
        (nodes.collect::<Vec<_>>(), edges.collect::<Vec<_>>())
    };
    let (nodes, edges) = drawn("/dev-tests/one");
    assert_eq!(nodes, ["bus", "dev", "dev-tests/one", "host", "x/pc"]);
    let expected = ["bus dev ", "bus dev modern", "dev dev-tests/one ", "host bus ", "x/pc host "];
    assert_eq!(edges, expected);
    let (nodes, edges) = drawn("/y/pc/soc/face/face-tests/c");
    assert_eq!(nodes, ["face", "face-tests/c", "soc", "y/pc"]);
    assert_eq!(edges, ["face face-tests/c ", "soc face ", "y/pc soc "]);
    assert_eq!(drawn("/").0.len(), model.drawing(&[], all).nodes.len());
    assert!(model.drawing(&[], all).of_paths([].into_iter()).is_empty());
}
