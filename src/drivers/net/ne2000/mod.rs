//! The NE2000, a DP8390 with memory of its own, wherever it is plugged in (National Semiconductor,
//! data sheet DP8390D).

pub mod chip;
mod nic;

use std::rc::Rc;

use self::nic::Places;
pub use self::nic::{RING, TRANSMIT_PAGES};
use crate::qemu::Vm;
use crate::qos::interrupt::InterruptLine;
use crate::qos::nic::Started;
use crate::qos::pci::PciPlug;
use crate::qos::registers::{Ports, RegisterBlock, Registers, RegistersExt};
use crate::{Result, interface};

/// Where the chip is.
#[derive(Clone)]
enum Place {
    /// On a PCI card.
    Card(PciPlug),
    /// On an ISA card, whose interrupt is this input of the I/O APIC.
    Isa(Rc<Vm>, u32),
}

/// An NE2000.
pub struct Ne2000 {
    /// Its ports: sixteen registers, the port of data, the port of a reset.
    pub registers: Rc<dyn Registers>,
    place: Place,
    places: Started<Places>,
}

impl Ne2000 {
    fn new(registers: Rc<dyn Registers>, place: Place) -> Self {
        Self { registers, place, places: Started::default() }
    }

    /// That on a PCI card.
    pub fn on_card(card: PciPlug) -> Self {
        Self::new(card.registers.clone(), Place::Card(card))
    }

    /// That on an ISA card whose ports begin at `base`, and whose interrupt is input `interrupt` of
    /// the I/O APIC.
    pub fn on_isa(vm: &Rc<Vm>, base: u16, interrupt: u32) -> Self {
        let place = Place::Isa(vm.clone(), interrupt);
        Self::new(Rc::new(Ports::new(vm, base)), place)
    }

    /// The same chip after a reset of the machine, mapped again.
    ///
    /// # Errors
    /// Returns an error if it cannot be mapped.
    pub fn again(&self) -> Result<Self> {
        match &self.place {
            Place::Card(card) => Ok(Self::on_card(card.again()?)),
            Place::Isa(..) => Ok(Self::new(self.registers.clone(), self.place.clone())),
        }
    }

    /// Its interrupt line, watched from now on, if it is on no PCI card.
    ///
    /// # Errors
    /// Returns an error if another device's lines are watched.
    pub fn line(&self) -> Result<Option<InterruptLine>> {
        match &self.place {
            Place::Isa(vm, input) => InterruptLine::watch(vm, "ioapic", *input).map(Some),
            Place::Card(_) => Ok(None),
        }
    }

    /// The registers that every NE2000 has.
    pub fn block(self: &Rc<Self>) -> RegisterBlock {
        let chip = self.clone();
        RegisterBlock::new("DP8390D data sheet", Rc::new(self.pages()), chip::TABLE)
            .with_array(&chip::RSAR, 2, 1)
            .with_array(&chip::PAR, 6, 1)
            .with_array(&chip::MAR, 8, 1)
            .attach(move || -> Result<Rc<dyn Registers>> { Ok(Rc::new(chip.again()?.pages())) })
            .software_reset(|registers| registers.get(chip::RESET).map(drop))
            .faults(chip::FAULTS)
    }
}

interface!(Ne2000 = "ne2000");
