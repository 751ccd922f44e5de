//! The ADM1266 sequencer: its pages, and the text that a board keeps in it.

use std::rc::Rc;

use crate::drivers::sensor::adm1266::{Adm1266, SUPPLIES};
use crate::qemu::Vm;
use crate::qos::i2c::pmbus::{self, PAGE_STRIDE};
use crate::qos::registers::{Register, RegistersExt};
use crate::{Result, tests};

tests!(Adm1266, "adm1266-tests": test_defaults, test_rw_regs, pages, text, text_full = "text-full");

/// A block command with text, its code, how many bytes it keeps, and what it has at first.
const TEXTS: [(u8, usize, &[u8]); 3] =
    [(0x99, 32, b"ADI"), (0x9a, 32, b"ADM1266-A1"), (0x9b, 8, b"25")];

/// A command of a page.
fn of_page(register: Register<u16>, page: u8) -> Register<u16> {
    register.above(u64::from(page) * PAGE_STRIDE)
}

/// Reads a block: its length first, and then that with so many bytes, as a host does.
fn block(adm: &Adm1266, code: u8) -> Result<Vec<u8>> {
    let [length] = adm.device().read_from(code)?;
    assert!(length <= 32, "the length of block {code:#x}: {length}");
    let mut read = vec![0; usize::from(length) + 1];
    adm.device().bus().send_recv(adm.device().address(), &[code], &mut read)?;
    assert_eq!(read[0], length, "the length of block {code:#x}, read again");
    Ok(read.split_off(1))
}

/// Writes a block.
fn write_block(adm: &Adm1266, code: u8, text: &[u8]) -> Result<()> {
    adm.device().write_from(code, &[&[text.len() as u8], text].concat())
}

/// Would catch a supply that is otherwise at first than the others, or than it should be.
fn test_defaults(adm: &Adm1266, _: &Rc<Vm>) -> Result<()> {
    let pages = adm.pages();
    for page in 0..SUPPLIES {
        for (register, value) in [
            (pmbus::READ_VOUT, 12),
            (pmbus::VOUT_MARGIN_HIGH, 15),
            (pmbus::VOUT_MARGIN_LOW, 3),
            (pmbus::VOUT_OV_FAULT_LIMIT, 16),
        ] {
            assert_eq!(pages.get(of_page(register, page))?, value, "{register} of page {page}");
        }
    }
    let device = adm.device();
    assert_eq!(device.get(pmbus::CAPABILITY)?, 0x20, "CAPABILITY");
    assert_eq!(device.get(pmbus::PMBUS_REVISION)?, 0x22, "PMBUS_REVISION");
    for (code, _, text) in TEXTS {
        assert_eq!(block(adm, code)?, text, "block {code:#x}");
    }
    Ok(())
}

/// Would catch a limit that does not keep what is written, or keeps it in another register, and
/// text that is cut off or keeps the end of what was there.
fn test_rw_regs(adm: &Adm1266, _: &Rc<Vm>) -> Result<()> {
    let limits = [pmbus::VOUT_MARGIN_HIGH, pmbus::VOUT_MARGIN_LOW, pmbus::VOUT_OV_FAULT_LIMIT];
    for (number, register) in (1u16..).zip(limits) {
        adm.device().set(register, 0x1230 + number)?;
    }
    for (number, register) in (1u16..).zip(limits) {
        assert_eq!(adm.device().get(register)?, 0x1230 + number, "{register}");
    }
    for (code, _, _) in TEXTS {
        for text in [&b"qgraph"[..], b"q"] {
            write_block(adm, code, text)?;
            assert_eq!(block(adm, code)?, text, "block {code:#x}");
        }
    }
    Ok(())
}

/// Would catch pages that are one, a page that writes go to beside that which is chosen, and a
/// page that does not exist that is another.
fn pages(adm: &Adm1266, _: &Rc<Vm>) -> Result<()> {
    let pages = adm.pages();
    let value = |page: u8| 0x0100 + u16::from(page) * 7;
    for page in 0..SUPPLIES {
        pages.set(of_page(pmbus::VOUT_MARGIN_HIGH, page), value(page))?;
    }
    // PMBus, part II, 11.10: such pages are refused.
    for missing in [SUPPLIES, 0x20, 0xfe] {
        adm.device().set(pmbus::PAGE, missing)?;
        adm.device().set(pmbus::VOUT_MARGIN_HIGH, 0xdead)?;
    }
    for page in 0..SUPPLIES {
        let read = pages.get(of_page(pmbus::VOUT_MARGIN_HIGH, page))?;
        assert_eq!(read, value(page), "VOUT_MARGIN_HIGH of page {page}");
    }
    // All pages are written at once.
    adm.device().set(pmbus::PAGE, 0xff)?;
    adm.device().set(pmbus::VOUT_MARGIN_HIGH, 0x0abc)?;
    for page in 0..SUPPLIES {
        let read = pages.get(of_page(pmbus::VOUT_MARGIN_HIGH, page))?;
        assert_eq!(read, 0x0abc, "VOUT_MARGIN_HIGH of page {page}, all written");
    }
    Ok(())
}

/// Would catch text that is not told whole when a board has written one.
fn text(adm: &Adm1266, _: &Rc<Vm>) -> Result<()> {
    for (code, room, _) in TEXTS {
        for length in 1..room {
            let text: Vec<u8> = (0..length).map(|at| b'a' + (at % 26) as u8).collect();
            write_block(adm, code, &text)?;
            assert_eq!(block(adm, code)?, text, "block {code:#x}");
        }
    }
    Ok(())
}

/// Would catch text that fills its room, or is longer, whose end QEMU looks for behind it, or that
/// gets into what is beside it.
fn text_full(adm: &Adm1266, _: &Rc<Vm>) -> Result<()> {
    for (code, room, _) in TEXTS {
        for (other, _, _) in TEXTS {
            write_block(adm, other, b"other")?;
        }
        for length in [room, room + 1, 31] {
            write_block(adm, code, &vec![b'x'; length])?;
            let read = block(adm, code)?;
            let kept = length.min(room);
            assert_eq!(read, vec![b'x'; kept], "block {code:#x} with {length} bytes");
            for (other, _, _) in TEXTS.iter().filter(|(other, _, _)| *other != code) {
                assert_eq!(block(adm, *other)?, b"other", "block {other:#x} beside {code:#x}");
            }
        }
    }
    Ok(())
}
