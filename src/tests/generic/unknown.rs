//! Registers of which only the place is known, and what holds of them whatever they are: that no
//! access ends QEMU, that reading changes nothing by itself, that a reset of the machine undoes
//! what a guest wrote. What is known of some devices is in [`known`](super::known).

use std::rc::Rc;
use std::time::Duration;

use vm_memory::GuestAddress;

use crate::Result;
use crate::protocol::{Endian, Width};
use crate::qemu::Vm;
use crate::qemu::discovery::{Description, Found, Space};
use crate::qos::fuzz::{self, Fuzz};
use crate::qos::registers::{Mmio, Ports, Registers};
use crate::qos::reset_from_any_state;
use crate::qos::sweep::{Location, Sweep, read, write};
use crate::tests::generic::answers::{Block, answers};
use crate::tests::generic::findings::Findings;
use crate::tests::generic::known::{Device, card_changes, card_keeps};

/// To how many registers of 32 and of 8 bits every bit is written alone.
pub(super) const WALKED: usize = 128;
/// How many accesses one attack makes.
const ACCESSES: usize = 2000;
/// After how many accesses virtual time passes, so that timers run.
const BETWEEN: usize = 250;
/// How much virtual time passes.
const STEP: Duration = Duration::from_micros(50);
/// The memory that is full of what may be descriptors, in bytes.
const BAIT: u64 = 64 << 10;

/// What a descriptor in memory holds, and what is written to registers, beside numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::tests) enum Lures {
    /// Addresses of the registers themselves in descriptors.
    Own,
    /// These and addresses of memory.
    All,
}

/// Whose the registers are.
enum Owner<'d> {
    /// A device that the machine has by itself.
    Found(&'d Description, &'d Found),
    /// A device of this type that a user has plugged in.
    Plugged(&'d str),
}

/// Registers of a device in one space, of which nothing is known but where they are.
pub(in crate::tests) struct Unknown<'d> {
    vm: &'d Rc<Vm>,
    space: Space,
    sweep: Sweep,
    owner: Owner<'d>,
}

impl<'d> Unknown<'d> {
    /// Those of a device that the machine has by itself.
    pub(in crate::tests) fn of(
        vm: &'d Rc<Vm>,
        machine: &'d Description,
        device: &'d Found,
        space: Space,
    ) -> Self {
        let (sweep, owner) = (Sweep::of(device, space), Owner::Found(machine, device));
        Self { vm, space, sweep, owner }
    }

    /// Those of a device of the type `ty` that a user has plugged in.
    pub(in crate::tests) fn plugged(
        vm: &'d Rc<Vm>,
        ty: &'d str,
        space: Space,
        sweep: Sweep,
    ) -> Self {
        Self { vm, space, sweep, owner: Owner::Plugged(ty) }
    }

    /// The widest access that the space has.
    fn widest(&self) -> Width {
        if self.space == Space::Ports { Width::Long } else { Width::Quad }
    }

    fn registers(&self, order: Endian) -> Box<dyn Registers> {
        match self.space {
            Space::Memory => Box::new(Mmio::new(self.vm, 0, order)),
            Space::Ports => Box::new(Ports::new(self.vm, 0)),
        }
    }

    /// Those that the space has.
    fn possible(&self, mut locations: Vec<Location>) -> Vec<Location> {
        let last = if self.space == Space::Ports { u16::MAX.into() } else { u64::MAX };
        locations.retain(|it| it.width <= self.widest() && it.address <= last);
        locations
    }

    /// Whether what is at `location` rightly changes each time it is read.
    fn changes(&self, location: Location) -> bool {
        self.is_known(location, card_changes, |device, at| device.changes(at))
    }

    /// Whether what is at `location` rightly keeps over a reset what was written.
    fn keeps(&self, location: Location) -> bool {
        self.is_known(location, card_keeps, |device, at| device.keeps(at))
    }

    fn is_known(
        &self,
        location: Location,
        of_card: fn(&str, (&str, u64), u64) -> bool,
        of_device: fn(&Device, Location) -> bool,
    ) -> bool {
        match self.owner {
            Owner::Found(machine, found) => {
                of_device(&Device { machine, found, sweep: &self.sweep }, location)
            }
            Owner::Plugged(ty) => {
                let register = self.sweep.register(location.address);
                register.is_some_and(|at| of_card(ty, at, location.width.bytes() as u64))
            }
        }
    }

    /// Reads every register with every width, aligned and not, and across the ends of the device.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub(in crate::tests) fn read_every_width(&self) -> Result<()> {
        let locations = self.possible(self.sweep.every_width());
        read(&*self.registers(self.vm.endian()?), &locations)?;
        settle(self.vm)
    }

    /// Reads all registers three times while no time passes. What the first reading cleared or
    /// took out is another value the second time, rightly; the third time must read what the second
    /// did, but for registers that `known` has.
    ///
    /// # Errors
    /// Returns an error that names the registers with other values, or if QEMU does not answer.
    pub(in crate::tests) fn stable(&self) -> Result<()> {
        let locations = self.possible(self.sweep.registers());
        let registers = self.registers(self.vm.endian()?);
        read(&*registers, &locations)?;
        let (second, third) = (read(&*registers, &locations)?, read(&*registers, &locations)?);
        let mut findings = Findings::new(&self.sweep);
        for (&location, (second, third)) in locations.iter().zip(second.into_iter().zip(third)) {
            if second != third && !self.changes(location) {
                findings.add(location, format!("{second:#x}, then {third:#x}"));
            }
        }
        findings.into_result("read again while no time passes, registers have other values")
    }

    /// Writes every register, with none, all, and each of its bits, and resets the machine. All
    /// must read then what they read after a reset without that, but for what `known` has.
    ///
    /// # Errors
    /// Returns an error that names the registers with other values, or if QEMU does not answer.
    pub(in crate::tests) fn write_reset(&self) -> Result<()> {
        let locations = self.possible(self.sweep.registers());
        let registers = self.registers(self.vm.endian()?);
        let after_reset = || {
            reset_from_any_state(self.vm)?;
            read(&*registers, &locations)
        };
        // Two, to see what is not the same after every reset.
        let before = [after_reset()?, after_reset()?];
        write(&*registers, writes(&locations))?;
        settle(self.vm)?;
        let after = after_reset()?;
        let mut findings = Findings::new(&self.sweep);
        for (number, &location) in locations.iter().enumerate() {
            let ([first, second], now) = (before.each_ref().map(|it| it[number]), after[number]);
            if first == second && second != now && !self.keeps(location) {
                findings.add(location, format!("{second:#x} became {now:#x}"));
            }
        }
        findings.into_result("a reset does not undo what was written to registers")
    }

    /// Tells what the registers answer, so that another build of QEMU can be compared.
    ///
    /// # Errors
    /// Returns an error if QEMU does not answer.
    pub(in crate::tests) fn answers(&self) -> Result<()> {
        let space = self.registers(self.vm.endian()?);
        let locations = self.possible(self.sweep.registers());
        let keys = match self.owner {
            Owner::Found(machine, found) => Device { machine, found, sweep: &self.sweep }.keys(),
            Owner::Plugged(_) => Vec::new(),
        };
        let sweep = &self.sweep;
        let block = Block { space: &*space, sweep, locations: &locations, keys: &keys };
        let reset = || reset_from_any_state(self.vm);
        let all = answers(self.vm, &block, reset, |location| self.changes(location))?;
        self.vm.note_answers(all);
        reset()
    }

    /// Makes accesses to the registers as `seed` chooses them, with descriptors in memory that hold
    /// `lures`, while time passes, and resets the machine.
    ///
    /// # Errors
    /// Returns an error if QEMU does not survive that.
    pub(in crate::tests) fn attack(&self, seed: u64, lures: Lures) -> Result<()> {
        let registers = self.registers(Endian::Little);
        let block =
            |(base, size)| fuzz::Block { space: &*registers, base, size, widest: self.widest() };
        let blocks: Vec<fuzz::Block> = self.sweep.blocks().into_iter().map(block).collect();
        let own: Vec<u64> = blocks.iter().map(|block| block.base).collect();
        let mut all = own.clone();
        if let Some(bait) = bait(self.vm) {
            all.extend(vec![bait; own.len() + 1]);
            let held = if lures == Lures::Own { own } else { all.clone() };
            let bytes = Fuzz::new(seed + 1000, held).bait(BAIT as usize);
            self.vm.ram().write(GuestAddress(bait), &bytes)?;
        }
        let mut fuzz = Fuzz::new(seed, all);
        for _ in 0..ACCESSES / BETWEEN {
            fuzz.run(&blocks, BETWEEN)?;
            self.vm.qtest().clock_step(Some(STEP))?;
        }
        settle(self.vm)?;
        reset_from_any_state(self.vm)?;
        settle(self.vm)
    }
}

/// Where the bait is: in RAM that tests may use, if the machine has some.
fn bait(vm: &Vm) -> Option<u64> {
    let ram = vm.ram().spec();
    let start = (ram.base + ram.usable.0).next_multiple_of(BAIT);
    (start + BAIT <= ram.base + ram.usable.1).then_some(start)
}

/// What is written to `registers`: zero, ones, and to some of them each bit alone. Ones come
/// last, so that a reset has something to do.
pub(in crate::tests) fn writes(registers: &[Location]) -> impl Iterator<Item = (Location, u64)> {
    [Width::Long, Width::Word, Width::Byte].into_iter().flat_map(move |width| {
        let walked = if width == Width::Word { 0 } else { WALKED };
        let of_width = registers.iter().filter(move |location| location.width == width);
        of_width.enumerate().flat_map(move |(number, &location)| {
            let bits = if number < walked { 8 * width.bytes() } else { 0 };
            let alone = (0..bits).map(|bit| 1 << bit);
            let values = [0].into_iter().chain(alone).chain([width.ones()]);
            values.map(move |value| (location, value))
        })
    })
}

/// Waits until QEMU has done what an access made it put off to its main loop.
pub(super) fn settle(vm: &Vm) -> Result<()> {
    vm.qmp().execute("query-status", serde_json::Value::Null)?;
    Ok(())
}
