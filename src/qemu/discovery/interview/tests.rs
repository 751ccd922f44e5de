//! What recorded answers come to. The board is made up.

use proptest::prelude::*;

use super::super::description::Piece;
use super::*;

/// A machine that answers from a list, and dies at the question that the list has no answer
/// to.
struct Recorded {
    tree: String,
    map: String,
    links: Vec<(&'static str, &'static str, Value)>,
    /// Whether it dies when it is asked for the values of properties.
    dies: bool,
}

const TREE: &str = "/machine (board-machine)
  /gate (or-irq)
    /unnamed-gpio-in[0] (irq)
    /unnamed-gpio-in[1] (irq)
  /sd (board-sdhci)
    /sd-bus (sd-bus)
    /sd-regs[0] (memory-region)
  /unattached (container)
    /device[0] (board-pic)
      /unnamed-gpio-in[0] (irq)
      /unnamed-gpio-in[1] (irq)
      /reset (irq)
    /device[1] (sensor)
    /sysbus (System)
";

const MAP: &str = r#"FlatView #0
 AS "cpu-memory-0", root: system
  0000000000000000-000000000fffffff (prio 0, ram): board.ram owner:{obj path=/objects/board.ram}
  0000000010000000-00000000100000ff (prio 0, i/o): sd-regs owner:{dev path=/machine/sd}
  0000000020000000-00000000200000ff (prio 0, i/o): pic owner:{dev id=device[0]}
  0000000030000000-00000000300000ff (prio 0, i/o): nobody's parent:{obj path=/machine/unattached}
  0000000080000000-0000000087ffffff (prio 0, ram): board.ram @0000000010000000 owner:{obj path=/objects/board.ram}
"#;

fn board() -> Recorded {
    let (text, number) = (|text: &str| json!(text), |number: u64| json!(number));
    Recorded {
        tree: TREE.to_owned(),
        map: MAP.to_owned(),
        links: vec![
            ("/objects/board.ram", "size", number(0x1800_0000)),
            ("/machine/sd", "sysbus-irq[0]", text("/machine/gate/unnamed-gpio-in[1]")),
            ("/machine/sd", "sysbus-irq[2]", text("")),
            ("/machine/sd", "parent_bus", text("/machine/unattached/sysbus")),
            ("/machine/sd", "capareg", number(0x52134b4)),
            (
                "/machine/gate",
                "unnamed-gpio-out[0]",
                text("/machine/unattached/device[0]/unnamed-gpio-in[1]"),
            ),
            ("/machine/unattached/device[1]", "parent_bus", text("/machine/sd/sd-bus")),
        ],
        dies: false,
    }
}

fn gone() -> Error {
    Error::Garbled { request: String::new(), answer: String::new(), expected: String::new() }
}

impl Answers for Recorded {
    fn ask(&self, questions: &[(&str, Value)]) -> Result<Vec<Result<Value>>> {
        let answer = |(command, arguments): &(&str, Value)| {
            let path = arguments["path"].as_str().unwrap_or_default();
            let of_path = self.links.iter().filter(|(other, _, _)| *other == path);
            match *command {
                "human-monitor-command" if arguments["command-line"] == "info qom-tree" => {
                    Ok(Ok(json!(self.tree)))
                }
                "human-monitor-command" => Ok(Ok(json!(self.map))),
                "qom-list-types" => Ok(Ok(json!([
                    {"name": "board-sdhci", "parent": "device"}, {"name": "or-irq", "parent": "device"},
                    {"name": "board-pic", "parent": "device"}, {"name": "sensor", "parent": "device"},
                    {"name": "sd-bus", "parent": "bus"}, {"name": "System", "parent": "bus"},
                    {"name": "odd"}, 7,
                ]))),
                "qom-list" => Ok(Ok(of_path
                    .map(|(_, name, value)| match (*name, value) {
                        ("parent_bus", _) => json!({"name": name, "type": "link<bus>"}),
                        (_, Value::String(_)) => json!({"name": name, "type": "link<irq>"}),
                        _ => json!({"name": name, "type": "uint64"}),
                    })
                    .collect())),
                "qom-get" if self.dies && arguments["property"] == "capareg" => Err(gone()),
                "qom-get" => {
                    let mut found = of_path.filter(|(_, name, _)| arguments["property"] == *name);
                    Ok(found.next().map(|(_, _, value)| value.clone()).ok_or_else(gone))
                }
                _ => Err(gone()),
            }
        };
        questions.iter().map(answer).collect()
    }

    fn endian(&self) -> Result<Endian> {
        Ok(Endian::Big)
    }
}

fn known(types: &Arc<Types>) -> Known<'_> {
    Known { version: Version::new(7, 2, 0), ram_id: Some("board.ram"), types }
}

fn described(board: &Recorded) -> Description {
    let types = Arc::new(types(board).expect("types"));
    describe(board, "board", &known(&types)).expect("a description")
}

/// Would catch a device that is overlooked, or has another's registers, lines or buses.
#[test]
fn devices_have_what_is_theirs() {
    let board = described(&board());
    let paths: Vec<&str> = board.devices.iter().map(|device| device.path.as_str()).collect();
    let expected = ["/machine/gate", "/machine/sd", "/machine/unattached/device[0]"];
    assert_eq!(paths[..3], expected);
    assert_eq!(board.endian, Endian::Big);

    let sd = board.device("/machine/sd").unwrap();
    assert_eq!(sd.ty, "board-sdhci");
    assert_eq!(sd.bus, None, "the system bus is not told");
    let region = sd.region("sd-regs").unwrap();
    assert_eq!((region.base, region.size(), sd.registers().count()), (0x1000_0000, 0x100, 1));
    assert_eq!(region.pieces, [Piece { offset: 0, last: 0xff }]);
    assert_eq!(sd.buses, [FoundBus { name: "sd-bus".into(), ty: "sd-bus".into() }]);
    assert!(board.bus_is_unique("sd-bus"));
    assert_eq!((sd.number("capareg"), sd.property("none")), (Some(0x52134b4), None));
    let outputs = &sd.outputs[0];
    assert_eq!((&*outputs.name, outputs.count, outputs.connected.len()), ("sysbus-irq", 3, 1));

    let pic = board.device("/machine/unattached/device[0]").unwrap();
    assert_eq!(pic.registers().next().unwrap().base, 0x2000_0000, "found by its id");
    let inputs: Vec<_> = pic.inputs.iter().map(|inputs| (&*inputs.name, inputs.count)).collect();
    assert_eq!(inputs, [("unnamed-gpio-in", 2), ("reset", 1)]);
    assert_eq!(board.others.len(), 3, "RAM twice, and what is nobody's");
}

/// Would catch a line that is said to end at a gate, or a device that is not found on its bus.
#[test]
fn lines_are_followed_and_buses_known() {
    let board = described(&board());
    let sd = board.device("/machine/sd").unwrap();
    assert_eq!(sd.output("sysbus-irq", 0).unwrap(), "/machine/gate/unnamed-gpio-in[1]");
    let end = board.interrupt(sd, 0).unwrap();
    assert_eq!(end, "/machine/unattached/device[0]/unnamed-gpio-in[1]");
    assert_eq!(board.interrupt(sd, 2), None);
    let (device, name, number) = board.input(&end).unwrap();
    assert_eq!((&*device.ty, name, number), ("board-pic", "unnamed-gpio-in", 1));
    let on_bus: Vec<_> = board.on_bus(&sd.bus_path(&sd.buses[0])).collect();
    assert_eq!((on_bus.len(), &*on_bus[0].ty), (1, "sensor"));
    assert_eq!(board.devices_of("device").count(), board.devices.len());
}

/// Would catch RAM in two parts that is taken for one, and a size that is not the backend's.
#[test]
fn ram_is_found_with_its_parts() {
    let board = described(&board());
    let ram = board.ram.as_ref().unwrap();
    assert_eq!((ram.id.as_deref(), ram.size), (Some("board.ram"), 0x1800_0000));
    let parts: Vec<_> =
        ram.pieces.iter().map(|part| (part.address, part.offset, part.size)).collect();
    assert_eq!(parts, [(0, 0, 0x1000_0000), (0x8000_0000, 0x1000_0000, 0x800_0000)]);
    let spec = ram.spec().unwrap();
    assert_eq!((spec.base, spec.size, spec.usable), (0, 0x1800_0000, (0x400_0000, 0xc00_0000)));
    assert!(!board.config(Version::default()).ram_is_given);
}

/// Would catch a size asked for that is only that of some memory, and video memory in which
/// tests would write.
#[test]
fn ram_that_has_no_backend_is_the_machines_own() {
    let map = r#"FlatView #0
 AS "memory", root: system
  0000000000000000-000000000000ffff (prio 0, ram): a.sram parent:{obj path=/machine/unattached}
  0000000010000000-00000000100fffff (prio 0, ram): a.vram parent:{obj path=/machine/unattached}
  0000000020000000-000000002000ffff (prio 0, ram): a.sram parent:{obj path=/machine/unattached}
"#;
    let board = described(&Recorded { map: map.to_owned(), ..board() });
    let ram = board.ram.as_ref().unwrap();
    assert_eq!((ram.id.as_deref(), ram.size, ram.pieces[0].address), (None, 0x1_0000, 0));
    assert!(board.config(Version::default()).ram_is_given);
}

/// Would catch a machine that is given up because it does not survive being asked for values.
#[test]
fn values_are_not_worth_a_machine() {
    let board = described(&Recorded { dies: true, ..board() });
    let sd = board.device("/machine/sd").unwrap();
    assert_eq!((sd.properties.len(), sd.property("capareg")), (1, None));
    assert_eq!(sd.outputs.len(), 1);
}

/// Would catch an owner that is not found where QEMU hides it, or one of two taken for sure.
#[test]
fn hidden_owners_are_known_by_their_regions() {
    let map = MAP.replace(" owner:{dev path=/machine/sd}", "");
    let board = described(&Recorded { map, ..board() });
    assert_eq!(board.device("/machine/sd").unwrap().registers().count(), 1);
    let twice = TREE.replace("/sd-bus (sd-bus)", "/sd-regs[1] (memory-region)");
    let map = MAP.replace(" owner:{dev path=/machine/sd}", "");
    let board = described(&Recorded { map, tree: twice, ..self::board() });
    assert_eq!(board.device("/machine/sd").unwrap().registers().count(), 0);
}

/// Would catch a machine without any object that is described as one without devices.
#[test]
fn a_monitor_that_tells_nothing_is_an_error() {
    let board = Recorded { tree: "unknown command".to_owned(), ..board() };
    assert!(describe(&board, "board", &known(&Arc::default())).is_err());
}

proptest! {
    /// Would catch texts of a monitor on which the reading panics.
    #[test]
    fn any_text_is_read(tree in "(/machine \\(x\\)\n)?( {0,4}/[a-z]{1,2}(\\[[0-9]{0,12}\\])? \\((device|bus|irq|or-irq|sensor)\\)\n){0,20}", map in ".{0,200}", line in 0usize..9) {
        let lines: Vec<&str> = MAP.lines().collect();
        let map = format!("{}\n{map}\n{}", lines[..line.min(2)].join("\n"), lines[2..].join("\n"));
        let board = Recorded { tree, map, ..board() };
        let types = Arc::new(types(&board).unwrap());
        if let Ok(board) = describe(&board, "board", &known(&types)) {
            for device in &board.devices {
                board.interrupt(device, 0);
            }
            board.config(Version::default());
        }
    }
}
