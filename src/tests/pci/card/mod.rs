//! What holds of every PCI device that a user can plug in, whatever it is: that QEMU starts with
//! it or says why not, that its properties can be looked at, that it can be unplugged, that no
//! access to its registers ends QEMU, and that a reset of the machine undoes what a guest wrote.
//! Nothing here knows a device.

mod attacks;

use std::rc::Rc;

use serde_json::json;

use crate::drivers::pci::pci_card::{ID, PciCard};
use crate::protocol;
use crate::qemu::Vm;
use crate::qos::pci::{Bar, PciDevice, Space, hotplug};
use crate::qos::registers::Width;
use crate::qos::sweep::{Location, Sweep, read, write};
use crate::qos::{reset_from_any_state, wait_until};
use crate::tests::generic::answers::{self, Block};
use crate::tests::generic::findings::Findings;
use crate::tests::generic::known;
use crate::tests::generic::properties;
use crate::tests::generic::unknown::writes;
use crate::{Error, Result, tests};

tests!(PciCard, "pci-card-tests":
    start,
    unplug,
    read_every_width = "read",
    stable,
    write_reset = "write-reset",
    answers,
);

/// Would catch a property that ends QEMU when it is looked at, or an error without words; and,
/// by being there for every type, a device with which QEMU neither starts nor says why.
fn start(_: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    properties::check(vm, &format!("/machine/peripheral/{ID}"), |_| false)
}

/// Would catch a device that QEMU does not survive the unplugging of, that stays, or that cannot
/// be plugged in again, unless QEMU says why.
fn unplug(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let (bus, at) = (card.device().bus(), card.device().address());
    if !bus.takes_devices() {
        return Err(Error::skipped("the root bus of PCI Express takes and gives no devices"));
    }
    if card.bar_count()? < 6 {
        return Err(Error::skipped("no guest lets a bridge go"));
    }
    match vm.qmp().execute("device_del", json!({ "id": ID })) {
        Ok(_) => {}
        Err(protocol::Error::Qmp { desc, .. }) => return Err(Error::skipped(desc)),
        Err(error) => return Err(error.into()),
    }
    bus.unplugging(at)?;
    wait_until(vm, "QEMU's word that the device is gone (DEVICE_DELETED)", || {
        vm.qmp().poll()?;
        let mut events = vm.qmp().events().into_iter();
        Ok(events.any(|event| event.name == "DEVICE_DELETED" && event.data["device"] == ID))
    })?;
    let is_there = PciDevice::find(bus, at).is_ok();
    assert!(!is_there, "a function at {at}, although QEMU has told that it is gone");
    let device = (ID, card.ty().ty.as_str());
    match hotplug::plug(bus, vm, at, device, json!({})) {
        Ok(Some(again)) => {
            assert_eq!(again.ids(), card.device().ids(), "vendor and device, plugged in again");
            reset_from_any_state(vm)
        }
        Ok(None) => Ok(()),
        // Its back ends went with it.
        Err(error) => match error.root() {
            Error::Protocol(protocol::Error::Qmp { desc, .. }) if !desc.trim().is_empty() => Ok(()),
            _ => Err(error),
        },
    }
}

/// The registers behind one BAR.
struct Registers {
    bar: Rc<Bar>,
    sweep: Sweep,
}

impl Registers {
    /// Those behind all BARs of a device.
    fn of(card: &PciCard) -> Result<Vec<Self>> {
        let of = |(number, bar): (u8, Rc<Bar>)| {
            let sweep = Sweep::of_block(&format!("bar{number}"), bar.address(), bar.size());
            Self { bar, sweep }
        };
        let all: Vec<Self> = card.bars()?.into_iter().map(of).collect();
        match all.is_empty() {
            true => Err(Error::skipped("the device has no registers here")),
            false => Ok(all),
        }
    }

    /// `locations`, without those that the space does not have.
    fn possible(&self, locations: Vec<Location>) -> Vec<Location> {
        let widest = widest(self.bar.space());
        locations.into_iter().filter(|location| location.width <= widest).collect()
    }

    /// Whether `known` says something of what is at `location`.
    fn is(
        &self,
        known: fn(&str, (&str, u64), u64) -> bool,
        card: &PciCard,
        location: Location,
    ) -> bool {
        let register = self.sweep.register(location.address);
        register.is_some_and(|at| known(&card.ty().ty, at, location.width.bytes() as u64))
    }

    fn read(&self, card: &PciCard, locations: &[Location]) -> Result<Vec<u64>> {
        read(card.device().bus().space(self.bar.space()), locations)
    }
}

/// The widest access to a space.
fn widest(space: Space) -> Width {
    match space {
        Space::Io => Width::Long,
        Space::Memory => Width::Quad,
    }
}

/// Would catch a device that ends QEMU, or makes it hang, when a guest reads a register with a
/// width or at an offset that its author did not think of: every register is read with every
/// width, aligned and not, and across the ends of each BAR.
fn read_every_width(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    for registers in Registers::of(card)? {
        registers.read(card, &registers.possible(registers.sweep.every_width()))?;
    }
    query(vm)
}

/// Would catch a register whose value comes from memory that was never set, or that reading
/// corrupts: while no time passes, all registers are read three times, and the third time reads
/// what the second did.
fn stable(card: &PciCard, _: &Rc<Vm>) -> Result<()> {
    for registers in Registers::of(card)? {
        let locations = registers.possible(registers.sweep.registers());
        registers.read(card, &locations)?;
        let (second, third) =
            (registers.read(card, &locations)?, registers.read(card, &locations)?);
        let mut findings = Findings::new(&registers.sweep);
        for (&location, (second, third)) in locations.iter().zip(second.into_iter().zip(third)) {
            let known = registers.is(known::card_changes, card, location);
            if second != third && !known {
                findings.add(location, format!("{second:#x}, then {third:#x}"));
            }
        }
        findings.into_result("read again while no time passes, registers have other values")?;
    }
    Ok(())
}

/// Would catch a reset of the machine that forgets a register of the device: every register is
/// written, with none, all, and each of its bits, and after a reset all read what they read after
/// a reset without that.
fn write_reset(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let after_reset = || -> Result<Vec<Vec<u64>>> {
        reset_from_any_state(vm)?;
        let all = Registers::of(card)?;
        all.iter().map(|it| it.read(card, &it.possible(it.sweep.registers()))).collect()
    };
    let before = [after_reset()?, after_reset()?];
    let all = Registers::of(card)?;
    for registers in &all {
        let locations = registers.possible(registers.sweep.registers());
        let space = card.device().bus().space(registers.bar.space());
        write(space, writes(&locations))?;
    }
    query(vm)?;
    drop(all);
    let after = after_reset()?;
    for (number, registers) in Registers::of(card)?.iter().enumerate() {
        let mut findings = Findings::new(&registers.sweep);
        let [first, second] = before.each_ref().map(|it| it.get(number));
        let (Some(first), Some(second), Some(now)) = (first, second, after.get(number)) else {
            return Err(Error::failed("after a reset the device has other BARs"));
        };
        let locations = registers.possible(registers.sweep.registers());
        for (at, &location) in locations.iter().enumerate() {
            let (first, second, now) = (first.get(at), second.get(at), now.get(at));
            let known = registers.is(known::card_keeps, card, location);
            if first == second && second != now && !known {
                let shown = |value: Option<&u64>| {
                    value.map_or("nothing".to_owned(), |it| format!("{it:#x}"))
                };
                findings.add(location, format!("{} became {}", shown(second), shown(now)));
            }
        }
        findings.into_result("a reset does not undo what was written to registers")?;
    }
    Ok(())
}

/// Would catch, where two builds are compared, a register that has another value after a reset,
/// keeps other bits, changes others with it or with time. By itself it fails only where QEMU
/// does not answer.
fn answers(card: &PciCard, vm: &Rc<Vm>) -> Result<()> {
    let mut all = Vec::new();
    for registers in Registers::of(card)? {
        let locations = registers.possible(registers.sweep.registers());
        let space = card.device().bus().space(registers.bar.space());
        let sweep = &registers.sweep;
        let block = Block { space, sweep, locations: &locations, keys: &[] };
        // BARs are where they were: the order in which they are placed is always the same.
        let reset = || reset_from_any_state(vm).and_then(|()| Registers::of(card)).map(drop);
        let known = |at| registers.is(known::card_changes, card, at);
        all.extend(answers::answers(vm, &block, reset, known)?);
    }
    vm.note_answers(all);
    reset_from_any_state(vm)
}

/// Waits until QEMU has done what an access made it put off to its main loop.
fn query(vm: &Vm) -> Result<()> {
    vm.qmp().execute("query-status", serde_json::Value::Null)?;
    Ok(())
}
