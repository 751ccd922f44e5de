//! Intel's 82574L: semaphore, EEPROM, status, automatic clearing of causes, second transmit
//! queue (82574 GbE Controller Family Datasheet 3.4, chapter 10).

use std::rc::Rc;
use std::time::Duration;

use crate::drivers::net::e1000::{self, CTRL, ICR, ICS, IMC, IMS, STATUS, TCTL};
use crate::drivers::net::e1000e::{E1000e, IVAR, OTHER, RXQ0};
use crate::qemu::Vm;
use crate::qos::net::{MAC, PEER, Wire, frame};
use crate::qos::nic::Nic;
use crate::qos::pci::msix::{Control, Msix};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Error, Result, tests};

tests!(E1000e, "e1000e-tests":
    semaphore,
    eeprom,
    status,
    clears = "automatic-clear",
    second_queue = "second-transmit-queue",
    phy_pages = "phy-pages",
);

const SWSM: Register<u32> = Register::new("SWSM", 0x5b50);
const EERD: Register<u32> = Register::new("EERD", 0x0014);
const EEWR: Register<u32> = Register::new("EEWR", 0x102c);
const EIAC: Register<u32> = Register::new("EIAC", 0x00dc);
const IAM: Register<u32> = Register::new("IAM", 0x00e0);
const CTRL_EXT: Register<u32> = Register::new("CTRL_EXT", 0x0018);
const TARC1: Register<u32> = Register::new("TARC1", 0x3940);

/// Would catch a semaphore (10.2.3.16) that two can hold, or that cannot be given back.
fn semaphore(nic: &E1000e, _: &Rc<Vm>) -> Result<()> {
    let registers = &nic.plug.registers;
    for round in 0..3 {
        registers.set(SWSM, 0)?;
        assert_eq!(registers.get(SWSM)? & 1, 0, "SWSM.SMBI, free, round {round}");
        assert_eq!(registers.get(SWSM)? & 1, 1, "SWSM.SMBI, held, round {round}");
    }
    Ok(())
}

/// Would catch a word that is read without being asked for, or is not kept (10.2.2.5).
fn eeprom(nic: &E1000e, _: &Rc<Vm>) -> Result<()> {
    const START: u32 = 1 << 0;
    const DONE: u32 = 1 << 1;
    let registers = &nic.plug.registers;
    let read = |word: u32| -> Result<u32> {
        registers.set(EERD, word << 2 | START)?;
        registers.get(EERD)
    };
    let [a, b, ..] = MAC;
    let expected = u32::from(u16::from_le_bytes([a, b]));
    assert_eq!(read(0)?, expected << 16 | DONE, "word 0: {:#x}", read(0)?);
    registers.set(EERD, 0)?;
    assert_eq!(registers.get(EERD)? & DONE, 0, "EERD without a start");
    let first = read(0x30)? >> 16;
    for value in [0x55aa, 0xaa55, first] {
        registers.set(EEWR, value << 16 | 0x30 << 2 | START)?;
        assert_eq!(read(0x30)?, value << 16 | 0x30 << 2 | DONE, "word 0x30, written");
    }
    Ok(())
}

/// Would catch a speed or a duplex mode that is forced and not told, and a reset of the PHY
/// that is not (10.2.2.2).
fn status(nic: &E1000e, _: &Rc<Vm>) -> Result<()> {
    const FRCSPD: u32 = 1 << 11;
    const FRCDPX: u32 = 1 << 12;
    const FD: u32 = 1 << 0;
    const PHY_RST: u32 = 1 << 31;
    const PHYRA: u32 = 1 << 10;
    let registers = &nic.plug.registers;
    let first = registers.get(CTRL)?;
    for speed in 0..3 {
        for duplex in [0, FD] {
            let control = first & !(0b11 << 8 | FD) | FRCSPD | FRCDPX | speed << 8 | duplex;
            registers.set(CTRL, control)?;
            let told = registers.get(STATUS)?;
            assert_eq!(told >> 6 & 0b11, speed, "STATUS.SPEED, forced: {told:#x}");
            assert_eq!(told & FD, duplex, "STATUS.FD, forced: {told:#x}");
        }
    }
    registers.set(STATUS, 0)?;
    assert_eq!(registers.get(STATUS)? & PHYRA, 0, "STATUS.PHYRA, written");
    registers.set(CTRL, first | PHY_RST)?;
    assert_eq!(registers.get(STATUS)? & PHYRA, PHYRA, "STATUS.PHYRA after a reset of the PHY");
    registers.set(CTRL, first)?;
    registers.set(STATUS, 0)?;
    assert_eq!(registers.get(STATUS)? & PHYRA, 0, "STATUS.PHYRA, written again");
    Ok(())
}

/// Would catch causes and masks that are not cleared by themselves (EIAC, IAM, 10.2.4.6 and
/// 10.2.4.7), or although nobody asked for it.
fn clears(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    const IAME: u32 = 1 << 27;
    let (device, registers) = (&nic.plug.device, &nic.plug.registers);
    let causes = e1000::ICR_LSC | e1000::ICR_TXDW;
    for iame in [false, true] {
        registers.set(IMC, !0)?;
        registers.get(ICR)?;
        let others = registers.get(CTRL_EXT)? & !IAME;
        registers.set(CTRL_EXT, others | if iame { IAME } else { 0 })?;
        registers.set(IAM, e1000::ICR_LSC)?;
        registers.set(IMS, causes)?;
        registers.set(ICS, e1000::ICR_LSC)?;
        registers.set(ICR, e1000::ICR_LSC)?;
        let left = if iame { e1000::ICR_TXDW } else { causes };
        assert_eq!(registers.get(IMS)? & causes, left, "IMS, ICR written, IAME {iame}");
    }
    registers.set(CTRL_EXT, registers.get(CTRL_EXT)? & !IAME)?;
    registers.set(IMC, !0)?;
    registers.get(ICR)?;
    let control = Control::find(device, &device.capabilities()?)?;
    let control = control.ok_or_else(|| Error::skipped("the function has no MSI-X here"))?;
    // QEMU ends with a failed assertion if MSI-X is switched while interrupts are throttled.
    let throttled = || vm.qtest().clock_step(Some(Duration::from_millis(1))).map(drop);
    throttled()?;
    let _msix = Msix::enable(&control)?;
    for (automatic, left) in [(0, RXQ0), (RXQ0, 0)] {
        registers.set(EIAC, automatic)?;
        registers.set(IVAR, 0x8 | 0x9 << 8 | 0xa << 16)?;
        registers.set(IMS, RXQ0)?;
        registers.set(ICS, RXQ0)?;
        assert_eq!(registers.get(ICS)? & RXQ0, RXQ0, "ICS, EIAC {automatic:#x}");
        registers.set(IMC, 0)?;
        assert_eq!(registers.get(ICS)? & RXQ0, left, "ICR, EIAC {automatic:#x}");
        registers.set(IMC, !0)?;
        registers.set(ICR, !0)?;
    }
    // The cause of others is cleared with theirs.
    registers.set(EIAC, 0)?;
    registers.set(ICS, e1000::ICR_LSC)?;
    assert_eq!(registers.get(ICS)? & OTHER, OTHER, "ICR.OTHER with one of its causes");
    registers.set(IMS, RXQ0)?;
    registers.set(ICR, OTHER)?;
    let left = registers.get(ICS)? & (OTHER | e1000::ICR_LSC);
    assert_eq!(left, 0, "ICR, OTHER written: {left:#x}");
    throttled()?;
    Ok(())
}

/// Would catch a register of the PHY that is another page's (register 22).
fn phy_pages(nic: &E1000e, _: &Rc<Vm>) -> Result<()> {
    const READY: u32 = 1 << 28;
    let registers = &nic.plug.registers;
    let access = |operation: u32, register: u32, data: u32| -> Result<u32> {
        registers.set(e1000::MDIC, operation << 26 | 1 << 21 | register << 16 | data)?;
        let done = registers.get(e1000::MDIC)?;
        assert_eq!(done >> 28 & 0b101, READY >> 28, "MDIC of register {register}: {done:#x}");
        Ok(done & 0xffff)
    };
    let (write, read) = (1, 2);
    // Register 16 is there on both pages.
    let mut kept = [0x0360, 0x0088];
    for round in 0..3 {
        for (page, kept) in [0, 2].into_iter().zip(&mut kept) {
            access(write, 22, page)?;
            if round > 0 {
                assert_eq!(access(read, 16, 0)?, *kept, "register 16 of page {page}");
            }
            *kept = 0x1100 * (round + 1) + page;
            access(write, 16, *kept)?;
            assert_eq!(access(read, 16, 0)?, *kept, "register 16 of page {page}, written");
        }
    }
    access(write, 22, 0)?;
    Ok(())
}

/// Would catch a second queue that does not send, sends what the first should, or sends while it
/// is off (TARC1, 10.2.6.10).
fn second_queue(nic: &E1000e, vm: &Rc<Vm>) -> Result<()> {
    const ENABLE: u32 = 1 << 10;
    const COMMAND: u32 = 0b1011 << 24;
    nic.plug.device.bus().reaches_ram()?;
    nic.nic().start(vm)?;
    let wire = Wire::new(vm)?;
    let registers = &nic.plug.registers;
    let descriptors = vm.ram().alloc(8 * 16, 128)?;
    let buffer = vm.ram().alloc(2048, 16)?;
    let at = |register: Register<u32>| register.above(0x100);
    registers.set(at(e1000::TDBAL), descriptors.address().0 as u32)?;
    registers.set(at(e1000::TDBAH), (descriptors.address().0 >> 32) as u32)?;
    registers.set(at(e1000::TDLEN), 8 * 16)?;
    registers.set(at(e1000::TDH), 0)?;
    registers.set(at(e1000::TDT), 0)?;
    registers.set(TCTL, registers.get(TCTL)? | e1000::TCTL_EN)?;
    for number in 0..20u32 {
        let sent = frame(PEER, MAC, 100 + number as usize, number as u8);
        buffer.write(0, &sent)?;
        let index = number as usize % 8;
        descriptors.write(16 * index, &buffer.address().0.to_le_bytes())?;
        descriptors.write_le32(16 * index + 8, sent.len() as u32 | COMMAND)?;
        descriptors.write_le32(16 * index + 12, 0)?;
        let off = number == 5;
        if off {
            registers.set(TARC1, registers.get(TARC1)? & !ENABLE)?;
        }
        registers.set(at(e1000::TDT), (number + 1) % 8)?;
        if off {
            wire.assert_silent("with the second queue off")?;
            registers.set(TARC1, registers.get(TARC1)? | ENABLE)?;
            registers.set(at(e1000::TDT), (number + 1) % 8)?;
        }
        let what = format!("frame {number} of the second queue");
        assert!(wire.receive(&what)? == sent, "{what}");
        assert_eq!(registers.get(at(e1000::TDH))?, (number + 1) % 8, "{what}: TDH1");
        assert_eq!(descriptors.read_le32(16 * index + 12)? & 1, 1, "{what}: DD");
        assert_eq!(registers.get(e1000::TDH)?, 0, "{what}: TDH of the first queue");
    }
    Ok(())
}
