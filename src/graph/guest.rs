//! Guests in the graph: a machine *produces* a way in which it starts images, such as
//! `multiboot`, and an image *consumes* it. The image is the test at which a path ends; nothing
//! is attached along such a path, for the guest runs on the machine's own CPUs.

use std::sync::Arc;

use super::decl::Declarations;
use super::discovered::intern;
use super::model::{Edge, EdgeKind, Kind, Model, Offer, Step};
use super::path::Path;
use crate::guests::{Guest, Way};
use crate::qemu::Emulator;
use crate::qemu::command_line::quote;

/// How a machine starts images, and where its first console is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Boots {
    /// The way.
    pub way: Way,
    /// The options, a word each, that connect the console to QEMU's standard input and output.
    pub console: &'static [&'static str],
}

impl Boots {
    /// A machine whose console is its first serial line.
    pub const fn with_serial(way: Way) -> Self {
        Self { way, console: &["-serial", "stdio"] }
    }
}

/// That machines start images, declared by [`boots!`](crate::boots).
pub struct BootDecl {
    /// `ARCH/MACHINE`, each of them.
    pub machines: &'static [&'static str],
    /// How.
    pub boots: Boots,
}

inventory::collect!(BootDecl);

/// Declares that a machine starts images: `boots!(Pc, Boots::with_serial(Way::Multiboot));`, or,
/// for machines that no type stands for, `boots!(["s390x/s390-ccw-virtio"], …);`.
#[macro_export]
macro_rules! boots {
    ([$($name:literal),+], $boots:expr) => {
        $crate::inventory::submit! {
            $crate::graph::BootDecl { machines: &[$($name),+], boots: $boots }
        }
    };
    ($t:ty, $boots:expr) => {
        $crate::inventory::submit! {
            $crate::graph::BootDecl {
                machines: <$t as $crate::graph::Node>::NAMES,
                boots: $boots,
            }
        }
    };
}

impl Model {
    /// The graph of these guests and the machines that start images, and of nothing else.
    pub fn of_guests(guests: impl IntoIterator<Item = Guest>) -> Self {
        let (machines, nodes, edges, tests) = Default::default();
        let mut model = Self::new(&Declarations { machines, nodes, edges, tests });
        model.add_guests(guests);
        model
    }

    /// Adds these guests, and to the machines that start images the ways in which they do.
    pub fn add_guests(&mut self, guests: impl IntoIterator<Item = Guest>) {
        let declared: Vec<&BootDecl> = inventory::iter::<BootDecl>.into_iter().collect();
        self.add_guests_to(&declared, guests);
    }

    fn add_guests_to(&mut self, declared: &[&BootDecl], guests: impl IntoIterator<Item = Guest>) {
        let guests: Vec<Guest> = guests.into_iter().collect();
        for decl in declared {
            if !guests.iter().any(|guest| guest.way == decl.boots.way) {
                continue;
            }
            let way = decl.boots.way.name();
            if self.find(way).is_none() {
                self.declare(way, Kind::Interface);
            }
            for machine in decl.machines {
                if self.find(machine).is_none() {
                    self.declare(machine, Kind::Machine);
                }
                let (kind, step) = (EdgeKind::Produces, Step::Boot(decl.boots));
                let edge = Edge { kind, offer: Offer::NOTHING, step, emulator: None };
                self.connect(machine, way, edge);
            }
        }
        for guest in guests {
            let name = intern(&format!("{}/{}", guest.suite, guest.name));
            let way = guest.way.name();
            if self.find(way).is_none() {
                self.declare(way, Kind::Interface);
            }
            // Builds for several architectures have guests of the same names.
            if self.find(name).is_none() {
                self.declare(name, Kind::Test);
            }
            let (kind, step) = (EdgeKind::ConsumedBy, Step::Guest(Arc::new(guest)));
            self.connect(way, name, Edge { kind, offer: Offer::NOTHING, step, emulator: None });
        }
        self.sort();
    }
}

impl Path {
    /// The guest at which it ends, if it does.
    pub fn guest(&self) -> Option<&Arc<Guest>> {
        self.steps().last().and_then(|(edge, _)| match &edge.step {
            Step::Guest(guest) => Some(guest),
            _ => None,
        })
    }

    /// Why it ends at a guest that cannot run on its machine, if that is so.
    pub fn why_no_guest(&self) -> Option<String> {
        self.guest().and_then(|guest| guest.why_not_on(self.machine()))
    }

    /// QEMU's arguments for the guest at which it ends, with this accelerator; `None` if it ends
    /// at none.
    pub fn guest_words(&self, emulator: &Emulator, accel: &str) -> Option<Vec<String>> {
        let guest = self.guest()?;
        let boots = self.steps().find_map(|(edge, _)| match edge.step {
            Step::Boot(boots) => Some(boots),
            _ => None,
        })?;
        let (_, machine) = self.machine().split_once('/')?;
        let mut machine = machine.to_owned();
        if !guest.properties.is_empty() {
            machine.push(',');
            machine.push_str(&guest.properties);
        }
        let accel = guest.accel(accel);
        let mut words: Vec<String> = [
            "-machine",
            &machine,
            "-accel",
            accel,
            "-nodefaults",
            "-no-reboot",
            "-display",
            "none",
        ]
        .map(str::to_owned)
        .into();
        words.extend(boots.console.iter().map(|word| (*word).to_owned()));
        words.extend(guest.words(|device| emulator.capabilities.has_device(device)));
        if let Some(environment) = &emulator.environment {
            environment.change(&mut words);
        }
        Some(words)
    }
}

/// A line for a shell that starts `emulator` with these arguments.
pub(super) fn shell_line(emulator: &Emulator, words: &[String]) -> String {
    let mut line = quote(&emulator.path.to_string_lossy());
    for word in words {
        line.push(' ');
        line.push_str(&quote(word));
    }
    line
}
