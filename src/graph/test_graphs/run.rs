//! A small graph of typed nodes: what its paths add to the command line, and in which
//! order their objects come and go. The declarations are made without the macros, which
//! would register them for good.

use std::cell::RefCell;

use super::*;
use crate::qemu::{Image, Socket};

thread_local! {
    /// What happened, in its order.
    static LOG: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

fn log(what: impl Into<String>) {
    LOG.with_borrow_mut(|log| log.push(what.into()));
}

/// Says when it goes.
struct Goes(String);

impl Drop for Goes {
    fn drop(&mut self) {
        log(format!("drop {}", self.0));
    }
}

/// A machine with a host bridge soldered on, and a second one.
struct Board;
/// The bridge; the number says which.
struct Bridge(u8, Goes);
/// The bus behind a bridge. It does not hold on to it.
trait Bus {
    fn number(&self) -> u8;
}
/// A device on a bus, in two makes. It does not hold on to the bus.
struct Disk {
    bus: u8,
    _goes: Goes,
}

impl Node for Board {
    const NAMES: &'static [&'static str] = &["x/board"];
}
impl Node for Bridge {
    const NAMES: &'static [&'static str] = &["bridge"];
}
impl Node for dyn Bus {
    const NAMES: &'static [&'static str] = &["bus"];
}
impl Node for Disk {
    const NAMES: &'static [&'static str] = &["disk-a", "disk-b"];
}

impl Machine for Board {
    const SETUP: Setup =
        Setup::bare(RamSpec::new(0x1000, MIB)).properties("secure=on").options("-cpu  max");

    fn boot(site: &Site) -> Result<Self> {
        log(format!("boot {}", site.node));
        Ok(Self)
    }
}

impl Contains<Bridge> for Board {
    const INSTANCES: &'static [Instance<Self, Bridge>] = &[
        Instance::new("second", |_| Ok(Bridge(2, Goes("bridge 2".into())))).bus("second.0"),
        Instance::new("broken", |_| Err(Error::failed("no bridge there"))),
    ];

    fn contained(&self) -> Result<Bridge> {
        Ok(Bridge(1, Goes("bridge 1".into())))
    }
}

impl Bus for Bridge {
    fn number(&self) -> u8 {
        self.0
    }
}

impl Produces<dyn Bus> for Bridge {
    const PLUG: Plug = Plug::new("", "04.0");

    fn produced(self: Rc<Self>) -> Rc<dyn Bus> {
        Rc::new(Self(self.0, Goes(format!("bus of {}", self.1.0))))
    }
}

impl Consumes<dyn Bus> for Disk {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}")
        .before("-drive file={disk},id=d")
        .after("-device plugged,bus=d")
        .images(&[Image { name: "disk", size: 512 }])
        .sockets(&[Socket::new("net", "")]);
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "old",
        add: Addition::properties(&["old=on"]).after("-global old-disk.x=1"),
    }];

    fn attach(to: Rc<dyn Bus>, site: &Site) -> Result<Self> {
        let Site { node, variant, plug, .. } = site;
        log(format!("attach {node} {variant:?} to bus {} {plug:?}", to.number()));
        Ok(Self { bus: to.number(), _goes: Goes(site.node.into()) })
    }
}

const BOARD: MachineDecl = MachineDecl::of::<Board>();
const NODES: [NodeDecl; 3] = [
    NodeDecl { names: Bridge::NAMES, aliases: &[], interface: false, counts_as: None, module: "" },
    NodeDecl { names: Disk::NAMES, aliases: &[], interface: false, counts_as: None, module: "" },
    NodeDecl {
        names: <dyn Bus>::NAMES,
        aliases: &[],
        interface: true,
        counts_as: None,
        module: "",
    },
];
const EDGES: [EdgeDecl; 3] = [
    EdgeDecl::contains::<Board, Bridge>(),
    EdgeDecl::produces::<Bridge, dyn Bus>(),
    EdgeDecl::consumes::<Disk, dyn Bus>(),
];
const DISK_TEST: TestDecl = TestDecl {
    name: "disk-tests/reads",
    of: Disk::NAMES,
    args: QemuArgs::NONE,
    module: "",
    file: "tests/disk.rs",
    errs: false,
    run: |at, _| {
        log(format!("test on bus {}", at.get::<Disk>()?.bus));
        Ok(())
    },
};

fn declarations() -> Declarations {
    Declarations {
        machines: vec![leak(BOARD)],
        nodes: NODES.map(leak).into(),
        edges: EDGES.map(leak).into(),
        tests: vec![leak(DISK_TEST)],
    }
}

fn path(declarations: &Declarations, name: &str) -> Path {
    match Arc::new(Model::new(declarations)).subject(name) {
        Subject::Path(path) => *path,
        other => panic!("{name}: {other:?}"),
    }
}

/// Runs a path; what came of it, and what happened.
fn run(path: &Path) -> (Result<()>, Vec<String>) {
    let vm = Vm::fake().expect("a machine that nobody emulates");
    LOG.take();
    let result = path.run(&vm);
    (result, LOG.take())
}

/// Would catch variants or family members that are no paths of their own.
#[test]
fn every_variant_of_every_name_is_a_path() {
    let model = Arc::new(Model::new(&declarations()));
    assert_eq!(model.check(), []);
    let names: Vec<_> = model.walk(None, |_| true).map(|path| path.name()).collect();
    let expected = ["bridge", "bridge:broken", "bridge:second"].map(|bridge| {
        ["disk-a", "disk-a:old", "disk-b", "disk-b:old"]
            .map(|disk| format!("/x/board/{bridge}/bus/{disk}/disk-tests/reads"))
    });
    assert_eq!(names, expected.concat());
}

/// Would catch options that are lost, doubled or in the wrong order, an image or socket that
/// nobody makes, and a machine without what its file says.
#[test]
fn the_command_line_of_a_path() {
    let declarations = declarations();
    let plain = path(&declarations, "/x/board/bridge/bus/disk-b/disk-tests/reads");
    let config = plain.config("".as_ref(), Version::default());
    assert_eq!((&*config.machine, &*config.properties), ("board", "secure=on"));
    assert_eq!(config.ram, RamSpec::new(0x1000, MIB));
    assert_eq!(
        config.options.join(" "),
        "-cpu max -drive file={disk},id=d -device disk-b,addr=04.0 -device plugged,bus=d"
    );
    assert_eq!(config.images, [Image { name: "disk", size: 512 }]);
    assert_eq!(config.sockets, [Socket::new("net", "")]);
    assert_eq!((plain.machine(), plain.test()), ("x/board", "disk-tests/reads"));
    assert_eq!(plain.file(), Some("tests/disk.rs"));

    let old = path(&declarations, "/x/board/bridge:second/bus/disk-b:old/disk-tests/reads");
    let config = old.config("".as_ref(), Version::default());
    assert_eq!(
        config.options.join(" "),
        "-cpu max -drive file={disk},id=d -device disk-b,bus=second.0,addr=04.0,old=on \
         -device plugged,bus=d -global old-disk.x=1"
    );
    assert_eq!(config.images, [Image { name: "disk", size: 512 }]);
}

/// Would catch an emulator that is asked for a device it lacks, or not asked.
#[test]
fn a_path_needs_its_machine_and_its_devices() {
    let model = Arc::new(Model::new(&declarations()));
    let has = emulator("x", ["board"], ["disk-b"]);
    let available = model.availability(&has);
    let walk = model.walk(Some(available), |_| true);
    let names: Vec<_> = walk.map(|path| path.name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
    assert!(names.iter().all(|name| name.contains("/disk-b")), "{names:?}");
    let plain = path(&declarations(), "/x/board/bridge/bus/disk-a/disk-tests/reads");
    let lack = Lack::Device { device: "disk-a", node: "disk-a" };
    assert_eq!(model.first_lack(&plain, &has), Some(lack));
    let lack = |has| model.first_lack(&plain, &has);
    let arch = Lack::Arch { has: "y".into(), needs: "x".into() };
    assert_eq!(lack(emulator("y", ["board"], ["disk-a"])), Some(arch));
    assert_eq!(lack(emulator("x", ["bored"], ["disk-a"])), Some(Lack::Machine("board")));
    assert_eq!(lack(emulator("x", ["board"], ["disk-a"])), None);
}

/// Would catch a reason that is given once for every architecture, or one that has nothing
/// to do with this emulator.
#[test]
fn the_reasons_why_a_node_is_not_available() {
    let mut plain = Plain {
        machines: ["x/m", "y/m", "z/m"].map(str::to_owned).into(),
        drivers: vec!["d".into()],
        ..Plain::default()
    };
    for machine in ["x/m", "y/m", "z/m"] {
        plain.edges.push((machine.into(), "d".into(), 1));
    }
    let model = plain.test("s/t", "d").model();
    let why = |has| match model.answer(&model.subject("d"), &has) {
        Some(Answer::Node { paths: 0, lacks }) => {
            lacks.iter().map(Lack::to_string).collect::<Vec<_>>().join("; ")
        }
        other => panic!("{other:?}"),
    };
    let other = "emulates w, and the machine is of x, y, z";
    assert_eq!(why(emulator("w", ["m"], ["d"])), other);
    assert_eq!(why(emulator("x", ["m"], [])), "lacks the device d");
    assert_eq!(why(emulator("x", [], ["d"])), "lacks the machine m");
}

/// Would catch objects that are attached in another order than the path's, the wrong one
/// of several, or one that is gone while the test runs.
#[test]
fn objects_come_in_order_and_go_after_the_test() {
    let name = "/x/board/bridge:second/bus/disk-b:old/disk-tests/reads";
    let (result, log) = run(&path(&declarations(), name));
    assert!(result.is_ok());
    assert_eq!(
        log,
        [
            "boot x/board",
            "attach disk-b \"old\" to bus 2 Plug { bus: \"second.0\", address: \"04.0\" }",
            "test on bus 2",
            "drop disk-b",
            "drop bus of bridge 2",
            "drop bridge 2",
        ]
    );
}

/// Would catch a failure to attach that does not say where, and what was attached before
/// it left behind.
#[test]
fn what_cannot_be_attached_is_named() {
    let name = "/x/board/bridge:broken/bus/disk-a/disk-tests/reads";
    let (result, log) = run(&path(&declarations(), name));
    assert_eq!(result.unwrap_err().to_string(), "attaching bridge: no bridge there");
    assert_eq!(log, ["boot x/board"]);
}

/// Would catch a test that panics and leaves objects behind, or has them dropped in
/// another order.
#[test]
fn objects_go_after_a_panic() {
    let mut declarations = declarations();
    let run_it = |_: &Object, _: &Rc<Vm>| std::panic::resume_unwind(Box::new("no"));
    declarations.tests = vec![leak(TestDecl { run: run_it, ..DISK_TEST })];
    let path = path(&declarations, "/x/board/bridge/bus/disk-a/disk-tests/reads");
    let vm = Vm::fake().expect("a machine that nobody emulates");
    LOG.take();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| path.run(&vm)));
    assert!(caught.is_err());
    assert_eq!(LOG.take()[2..], ["drop disk-a", "drop bus of bridge 1", "drop bridge 1"]);
}

/// Would catch a panic, or the wrong test on the wrong object, where two declarations
/// have one name.
#[test]
fn two_declarations_of_one_name_are_an_error_and_no_panic() {
    let mut twice = declarations();
    twice.tests.push(leak(TestDecl {
        name: "disk-tests/reads",
        of: <dyn Bus>::NAMES,
        args: QemuArgs::NONE,
        module: "",
        file: "tests/bus.rs",
        errs: false,
        run: |at, _| {
            log(format!("bus test on {}", at.get::<dyn Bus>()?.number()));
            Ok(())
        },
    }));
    let (result, log) = run(&path(&twice, "/x/board/bridge/bus/disk-tests/reads"));
    assert!(result.is_ok());
    assert!(log.contains(&"bus test on 1".to_owned()), "{log:?}");
    let (result, log) = run(&path(&twice, "/x/board/bridge/bus/disk-a/disk-tests/reads"));
    assert!(result.is_ok());
    assert!(log.contains(&"test on bus 1".to_owned()), "{log:?}");

    let mut other_machine = declarations();
    let boot = |_: &Site| Ok(Object::new(Rc::new(Disk { bus: 0, _goes: Goes("it".into()) })));
    other_machine.machines.push(leak(MachineDecl { boot, ..BOARD }));
    let (result, _) = run(&path(&other_machine, "/x/board/bridge/bus/disk-a/disk-tests/reads"));
    let said = result.unwrap_err().to_string();
    assert!(said.contains("two nodes have the same name; `qgraph check` says which"), "{said}");

    let mut driver_and_test = declarations();
    let names: &[&str] = &["disk-tests/reads"];
    driver_and_test.nodes.push(leak(NodeDecl {
        names,
        aliases: &[],
        interface: false,
        counts_as: None,
        module: "",
    }));
    driver_and_test.edges.push(leak(EdgeDecl {
        from: Bridge::NAMES,
        to: names,
        kind: EdgeKind::Contains,
        offers: || vec![Offer::NOTHING],
        follow: |at, _, _| Ok(Object::new(at.get::<Bridge>()?)),
    }));
    let (result, _) = run(&path(&driver_and_test, "/x/board/bridge/disk-tests/reads"));
    assert_eq!(result.unwrap_err().to_string(), "disk-tests/reads is not only a test");
}
