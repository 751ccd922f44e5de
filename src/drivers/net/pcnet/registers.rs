//! The registers of AMD's PCnet-PCI II behind its address and data ports: control and status
//! registers (CSR) and bus configuration registers (BCR), each by its number.

use std::rc::Rc;

use super::Pcnet;
use crate::Result;
use crate::graph::Produces;
use crate::qos::pci::Bar;
use crate::qos::registers::{AnyRegister, Register, RegisterBlock, Registers, RegistersExt, Width};

/// Register data port, register address port, reset and bus data port, in word I/O mode.
const RDP: u64 = 0x10;
const RAP: u64 = 0x12;
/// Reading it resets by software.
pub const RESET: u64 = 0x14;
const BDP: u64 = 0x16;
/// Where bus configuration registers begin in [`Indexed`].
const BCR: u64 = 0x200;

/// The registers as a stretch: CSR n at offset 2n, BCR n at offset 0x200 + 2n.
pub struct Indexed(pub Rc<Bar>);

impl Indexed {
    /// Writes the address port; returns the data port.
    fn select(&self, offset: u64) -> Result<u64> {
        self.0.write16(RAP, (offset % BCR / 2) as u16)?;
        Ok(if offset < BCR { RDP } else { BDP })
    }
}

impl Registers for Indexed {
    fn read(&self, offset: u64, width: Width) -> Result<u64> {
        self.0.read(self.select(offset)?, width)
    }

    fn write(&self, offset: u64, width: Width, value: u64) -> Result<()> {
        self.0.write(self.select(offset)?, width, value)
    }
}

const fn csr(name: &'static str, number: u64) -> Register<u16> {
    Register::new(name, 2 * number).section("Control and Status Registers")
}

const fn bcr(name: &'static str, number: u64) -> Register<u16> {
    Register::new(name, BCR + 2 * number).section("Bus Configuration Registers")
}

/// Controller status: starts, stops, and reports.
pub const CSR0: Register<u16> = csr("CSR0", 0).reset(0x0004).w1c(0x7f00).acts(0x004f);
/// Initialization block address, lower half.
pub const CSR1: Register<u16> = csr("CSR1", 1).kept(0xffff);
/// Initialization block address, upper half.
pub const CSR2: Register<u16> = csr("CSR2", 2).kept(0xffff);
/// Interrupt masks and deferral control.
pub const CSR3: Register<u16> = csr("CSR3", 3).reset(0).kept(0x5f78).acts(4).reserved(0xa083);
/// Test and features control, further interrupts and their masks.
pub const CSR4: Register<u16> = csr("CSR4", 4).reset(0x0115).kept(0x6d15).acts(0x9080).w1c(0x026a);
/// Extended control and interrupt: magic packets, suspend, further interrupts.
pub const CSR5: Register<u16> = csr("CSR5", 5).reset(0).acts(0x8547).w1c(0x0a90).reserved(0x7028);
/// Receive and transmit ring length as initialized.
pub const CSR6: Register<u16> = csr("CSR6", 6).undefined(0xffff);
/// Logical address filter, the first of four words.
pub const LADRF: Register<u16> = csr("CSR8 (LADRF)", 8).kept(0xffff);
/// Physical address, the first of three words.
pub const PADR: Register<u16> = csr("CSR12 (PADR)", 12).kept(0xffff);
/// Mode.
pub const CSR15: Register<u16> = csr("CSR15", 15).kept(0xfffc).acts(0x0003).undefined(0xffff);
/// Software style, as in BCR20.
pub const CSR58: Register<u16> = csr("CSR58", 58).reset(0x0200).acts(0x04ff).reserved(0xf800);
/// DMA transfer counter and FIFO watermark control.
pub const CSR80: Register<u16> = csr("CSR80", 80).reset(0x1410).undefined(0xc000);
/// Chip ID: the part number 2621 begins in bits 31:12 of both words.
pub const CSR88: Register<u16> = csr("CSR88", 88).reset(0x1003);
/// Chip ID, upper half.
pub const CSR89: Register<u16> = csr("CSR89", 89).reset(0x0262).undefined(0xf000);
/// Missed frame count.
pub const CSR112: Register<u16> = csr("CSR112", 112).reset(0).side_effect();
/// Receive collision count.
pub const CSR114: Register<u16> = csr("CSR114", 114).reset(0).side_effect();
/// Miscellaneous configuration.
pub const BCR2: Register<u16> =
    bcr("BCR2", 2).reset(0x0002).undefined(0xe0fd).acts(0xffff).survives_software_reset();
/// Link status LED: bit 15 tells, bits 8:0 say what is told.
pub const BCR4: Register<u16> = bcr("BCR4", 4)
    .reset(0x00c0)
    .kept(0x00ff)
    .acts(0x3000)
    .undefined(0xfe00)
    .volatile(0xcf00)
    .survives_software_reset();
/// LED 1 to 3, as [`BCR4`].
pub const BCR5: Register<u16> = BCR4.nth(1, 2).named("BCR5").reset(0x0084);
/// As [`BCR5`].
pub const BCR6: Register<u16> = BCR4.nth(2, 2).named("BCR6").reset(0x0088);
/// As [`BCR5`].
pub const BCR7: Register<u16> = BCR4.nth(3, 2).named("BCR7").reset(0x0090);
/// Full duplex control.
pub const BCR9: Register<u16> =
    bcr("BCR9", 9).reset(0).kept(0x0003).reserved(0xfffc).survives_software_reset();
/// EEPROM control and status: 4 enables the port of bits 2 (EECS) and 1 (ESK).
pub const BCR19: Register<u16> =
    bcr("BCR19", 19).reset(0x0002).kept(0x0016).reserved(0xffe9).survives_software_reset();
/// PCI latency: maximum and minimum grant.
pub const BCR22: Register<u16> =
    bcr("BCR22", 22).reset(0xff06).kept(0xffff).survives_software_reset();
/// Software style of the descriptors.
pub const BCR20: Register<u16> = bcr("BCR20", 20).reset(0x0200).acts(0x04ff).reserved(0xf800);

/// CSR0: initialize, start, stop, send on demand.
pub const CSR0_INIT: u16 = 1 << 0;
/// As [`CSR0_INIT`].
pub const CSR0_STRT: u16 = 1 << 1;
/// As [`CSR0_INIT`].
pub const CSR0_STOP: u16 = 1 << 2;
/// As [`CSR0_INIT`].
pub const CSR0_TDMD: u16 = 1 << 3;
/// CSR0: the transmitter, and the receiver, is on.
pub const CSR0_TXON: u16 = 1 << 4;
/// As [`CSR0_TXON`].
pub const CSR0_RXON: u16 = 1 << 5;
/// CSR0: interrupts are enabled.
pub const CSR0_IENA: u16 = 1 << 6;
/// CSR0: initialization done.
pub const CSR0_IDON: u16 = 1 << 8;
/// CSR0: all causes, cleared by writing ones.
pub const CSR0_CAUSES: u16 = 0x7f00;
/// CSR3: the masks of all causes of CSR0.
pub const CSR3_MASKS: u16 = 0x5f00;
/// CSR4: the masks of its causes.
pub const CSR4_MASKS: u16 = 0x0115;
/// CSR4: short frames are padded.
pub const CSR4_APAD_XMT: u16 = 1 << 11;
/// CSR4: a user interrupt is asked for, and is pending.
pub const CSR4_UINTCMD: u16 = 1 << 7;
/// As [`CSR4_UINTCMD`].
pub const CSR4_UINT: u16 = 1 << 6;

/// All of them that are not arrays.
const TABLE: &[&dyn AnyRegister] = &[
    &CSR0, &CSR1, &CSR2, &CSR3, &CSR4, &CSR5, &CSR6, &CSR15, &CSR58, &CSR80, &CSR88, &CSR89,
    &CSR112, &CSR114, &BCR2, &BCR4, &BCR5, &BCR6, &BCR7, &BCR9, &BCR19, &BCR22, &BCR20,
];

impl Produces<RegisterBlock> for Pcnet {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        let nic = self.clone();
        let reset = self.clone();
        let [a, b, c, d, e, f] = crate::qos::net::MAC.map(u64::from);
        let address = [a | b << 8, c | d << 8, e | f << 8];
        let mut block = RegisterBlock::new("Am79C970A data sheet", self.registers.clone(), TABLE)
            .with_array(&LADRF, 4, 2)
            .software_reset(move |_| reset.plug.registers.read16(RESET).map(drop))
            .attach(move || -> Result<Rc<dyn Registers>> {
                Ok(Rc::new(Indexed(nic.plug.again()?.registers)))
            });
        for (index, value) in (0..).zip(address) {
            block = block.with(&[&PADR.nth(index, 2).reset(value)]);
        }
        Rc::new(block)
    }
}
