//! The flash interface units of the Nuvoton BMCs (NPCM7xx data sheet, chapter "Flash Interface
//! Unit"): a chip is read as memory, or by transactions that software makes of a command, an
//! address, data and dummy cycles.

use std::cell::Cell;
use std::rc::Rc;

use crate::drivers::spi::slot;
use crate::graph::{Discovered, FoundDevice, Plug, Produces};
use crate::protocol::Endian;
use crate::qemu::Vm;
use crate::qos::registers::{AnyRegister, Mmio, Register, RegisterBlock, RegistersExt};
use crate::qos::spi::{Chip, SpiController, SpiSlot};
use crate::qos::wait_until;
use crate::{Error, Result, discovered, driver};

/// Direct read configuration.
const DRD_CFG: Register<u32> = Register::new("DRD_CFG", 0x00)
    .section("Direct Read Configuration")
    .reset(0x0300_100b)
    .kept(0x0303_33ff)
    .reserved(0xfcfc_cc00);
/// Direct write configuration.
const DWR_CFG: Register<u32> = Register::new("DWR_CFG", 0x04)
    .section("Direct Write Configuration")
    .reset(0x0300_0002)
    .kept(0x0303_0fff)
    .reserved(0xfcfc_f000);
/// Configuration of a transaction: how many bytes of what.
const UMA_CFG: Register<u32> = Register::new("UMA_CFG", 0x08)
    .section("UMA Configuration")
    .reset(0x0000_0400)
    .kept(0x1fff_ffff)
    .reserved(0x2000_0000)
    .acts(0xc000_0000);
/// Control and status of a transaction.
const UMA_CTS: Register<u32> = Register::new("UMA_CTS", 0x0c)
    .section("UMA Control and Status")
    .reset(CHIP_HIGH as u64)
    .acts(0xffff_ffff);
/// The command, and what is sent in dummy cycles.
const UMA_CMD: Register<u32> =
    Register::new("UMA_CMD", 0x10).section("UMA Command").reset(0x0b).kept(0xffff_ffff);
/// The address.
const UMA_ADDR: Register<u32> =
    Register::new("UMA_ADDR", 0x14).section("UMA Address").reset(0).kept(0xffff_ffff);
/// Data that are sent; four of them.
const UMA_DW: Register<u32> =
    Register::new("UMA_DW", 0x20).section("UMA Write Data").reset(0).kept(0xffff_ffff);
/// Data that were received; four of them.
const UMA_DR: Register<u32> =
    Register::new("UMA_DR", 0x30).section("UMA Read Data").reset(0).read_only();

/// The registers that are not in arrays.
const TABLE: &[&dyn AnyRegister] = &[&DRD_CFG, &DWR_CFG, &UMA_CFG, &UMA_CTS, &UMA_CMD, &UMA_ADDR];

/// UMA_CTS: the chip select is high but for transactions; 0 holds it low.
const CHIP_HIGH: u32 = 1 << 16;
/// UMA_CTS: which chip select.
const CHIP_SHIFT: usize = 8;
/// UMA_CTS: a transaction has ended; a one clears.
const READY: u32 = 1 << 24;
/// UMA_CTS: begins a transaction, and is set until it ends.
const EXECUTE: u32 = 1;
/// UMA_CFG: the numbers of bytes.
const READ_SHIFT: usize = 24;
const DUMMY_SHIFT: usize = 21;
const WRITE_SHIFT: usize = 16;

/// QEMU's `npcm7xx-fiu`.
pub struct Npcm7xxFiu {
    registers: Rc<Mmio>,
    chip: Option<Chip>,
    selected: Cell<Option<usize>>,
}

impl Npcm7xxFiu {
    /// A transaction of `config` while the chip select is held low.
    fn execute(&self, config: u32) -> Result<()> {
        let number = self.selected.get().ok_or_else(|| Error::failed("no chip is selected"))?;
        let chip = (number as u32) << CHIP_SHIFT;
        self.registers.set(UMA_CFG, config)?;
        self.registers.set(UMA_CTS, chip | READY | EXECUTE)?;
        wait_until(self.registers.vm(), "a transaction to end", || {
            Ok(self.registers.get(UMA_CTS)? & (READY | EXECUTE) == READY)
        })
    }
}

impl SpiController for Npcm7xxFiu {
    fn vm(&self) -> &Rc<Vm> {
        self.registers.vm()
    }

    fn select(&self, number: usize) -> Result<()> {
        self.selected.set(Some(number));
        self.registers.set(UMA_CTS, (number as u32) << CHIP_SHIFT | READY)
    }

    fn deselect(&self) -> Result<()> {
        self.selected.set(None);
        self.registers.set(UMA_CTS, CHIP_HIGH | READY)
    }

    fn send(&self, bytes: &[u8]) -> Result<()> {
        for part in bytes.chunks(16) {
            for (number, word) in part.chunks(4).enumerate() {
                let mut four = [0; 4];
                four[..word.len()].copy_from_slice(word);
                self.registers.set(UMA_DW.nth(number as u64, 4), u32::from_le_bytes(four))?;
            }
            self.execute((part.len() as u32) << WRITE_SHIFT)?;
        }
        Ok(())
    }

    fn receive(&self, length: usize) -> Result<Vec<u8>> {
        let mut all = Vec::new();
        while all.len() < length {
            let part = (length - all.len()).min(16);
            self.execute((part as u32) << READ_SHIFT)?;
            let mut bytes = Vec::new();
            for number in 0..part.div_ceil(4) {
                bytes.extend(self.registers.get(UMA_DR.nth(number as u64, 4))?.to_le_bytes());
            }
            all.extend(&bytes[..part]);
        }
        Ok(all)
    }

    fn dummy(&self, cycles: usize) -> Result<()> {
        self.execute((cycles as u32 / 8) << DUMMY_SHIFT)
    }
}

impl Produces<SpiSlot> for Npcm7xxFiu {
    fn produced(self: Rc<Self>) -> Rc<SpiSlot> {
        Rc::new(SpiSlot { chip: self.chip.clone(), controller: self })
    }
}

impl Produces<RegisterBlock> for Npcm7xxFiu {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let block = RegisterBlock::new("NPCM7xx data sheet, FIU", self.registers.clone(), TABLE)
            .with_array(&UMA_DW, 4, 4)
            .with_array(&UMA_DR, 4, 4);
        Rc::new(block)
    }
}

impl Discovered for Npcm7xxFiu {
    const QOM_TYPES: &'static [&'static str] = &["npcm7xx-fiu"];

    /// The fourth unit takes drives of a bus of its own.
    fn plug(device: &FoundDevice) -> Plug {
        let usual = slot::of(device);
        match device.path.ends_with("/fiu3") && !usual.is_closed() {
            true => Plug::new("bus=3,unit=0", usual.address),
            false => usual,
        }
    }

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let unreachable = || device.unreachable();
        let own = device.regions.iter().find(|region| &*region.name == "ctrl");
        let base = own.ok_or_else(unreachable)?.base;
        Ok(Self {
            registers: Rc::new(Mmio::new(vm, base, Endian::Little)),
            chip: slot::chip(device),
            selected: Cell::default(),
        })
    }
}

driver!(Npcm7xxFiu = "npcm7xx-fiu"; produces SpiSlot, RegisterBlock);
discovered!(Npcm7xxFiu);
