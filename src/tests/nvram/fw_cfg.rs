//! The firmware configuration device (QEMU's specification "QEMU Firmware Configuration (fw_cfg)
//! Device"): items, files, and DMA.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::fw_cfg::{
    self as cfg, DMA_ERROR, DMA_READ, DMA_SELECT, DMA_SIGNATURE, DMA_SKIP, DMA_WRITE, FwCfg,
};
use crate::qos::registers::Width;
use crate::qos::reset;
use crate::{Error, Result, tests};

tests!(FwCfg, "fw_cfg":
    signature,
    id,
    uuid,
    nographic,
    boot_menu,
    directory,
    file,
    unknown,
    machine_reset = "machine-reset",
    dma_signature = "dma/signature",
    dma_read = "dma/read",
    dma_skip = "dma/skip",
    dma_refused = "dma/refused",
    dma_wild = "dma/wild-addresses";
    with QemuArgs::NONE.after("-uuid 4600cb32-38ec-4b2f-8acb-81c6ea54f2d8 -boot menu=on \
        -fw_cfg name=opt/org.qgraph/short,string=a-short-one \
        -fw_cfg name=opt/org.qgraph/other,string=0123456789abcdefghijklmnopqrstuvwxyz")
);

/// The files that the command line adds.
const SHORT: (&str, &[u8]) = ("opt/org.qgraph/short", b"a-short-one");
const OTHER: (&str, &[u8]) = ("opt/org.qgraph/other", b"0123456789abcdefghijklmnopqrstuvwxyz");
/// The machine's UUID.
const THE_UUID: [u8; 16] = [
    0x46, 0x00, 0xcb, 0x32, 0x38, 0xec, 0x4b, 0x2f, 0x8a, 0xcb, 0x81, 0xc6, 0xea, 0x54, 0xf2, 0xd8,
];

/// Would catch a device that is none, or reads on behind the end of an item.
fn signature(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    for _ in 0..2 {
        assert_eq!(fw.item(cfg::SIGNATURE, 8)?, b"QEMU\0\0\0\0", "the signature");
    }
    // Half of it, and then the rest.
    assert_eq!(fw.item(cfg::SIGNATURE, 2)?, b"QE", "a half");
    assert_eq!(fw.read(3)?, b"MU\0", "the other half");
    Ok(())
}

/// Would catch features that nobody knows, or DMA that is told where there is none.
fn id(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    let id = fw.id()?;
    let dma = if fw.dma.is_some() { cfg::ID_DMA } else { 0 };
    assert!([cfg::ID_TRADITIONAL, cfg::ID_TRADITIONAL | dma].contains(&id), "features {id:#x}");
    assert_eq!(fw.item(cfg::ID, 6)?[4..], [0, 0], "behind the features");
    Ok(())
}

/// Would catch another UUID than the machine was given.
fn uuid(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(fw.item(cfg::UUID, 16)?, THE_UUID, "the UUID");
    Ok(())
}

/// Would catch a display that is told to be there, or not, in another length.
fn nographic(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    let found = fw.item(cfg::NO_GRAPHIC, 4)?;
    assert!(found[0] <= 1 && found[1..] == [0, 0, 0], "no graphic display: {found:?}");
    Ok(())
}

/// Would catch a boot menu that nobody is told of.
fn boot_menu(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    assert_eq!(fw.item(cfg::BOOT_MENU, 4)?, [1, 0, 0, 0], "the boot menu");
    Ok(())
}

/// Would catch two files of one name or item, a size that is not the file's, and a directory that
/// is not in order.
fn directory(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    let files = fw.files()?;
    assert!(files.len() >= 2, "files {files:?}");
    let names: BTreeSet<&str> = files.iter().map(|file| file.name.as_str()).collect();
    let items: BTreeSet<u16> = files.iter().map(|file| file.item).collect();
    assert_eq!((names.len(), items.len()), (files.len(), files.len()), "names and items differ");
    for file in &files {
        assert!((cfg::FIRST_FILE..0x4000).contains(&file.item), "{file:?}: the item");
        assert_eq!(file.reserved, 0, "{file:?}: what is reserved");
    }
    for (name, content) in [SHORT, OTHER] {
        assert_eq!(fw.file(name)?.size as usize, content.len(), "the size of {name}");
    }
    let end = fw.read(4)?;
    assert_eq!(end.len(), 4, "behind the directory");
    Ok(())
}

/// Would catch a file with another content, shifted, cut off, or that goes on behind its end.
fn file(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    for (name, content) in [SHORT, OTHER, SHORT] {
        let file = fw.file(name)?;
        let found = fw.item(file.item, content.len() + 3)?;
        assert_eq!(found[..content.len()], *content, "{name}");
        assert_eq!(found[content.len()..], [0; 3], "behind {name}");
        assert_eq!(fw.item(file.item, 3)?, content[..3], "{name}, selected again");
        // A write of data does nothing.
        fw.select(file.item)?;
        fw.data.0.write(fw.data.1, Width::Byte, 0xee)?;
        assert_eq!(fw.item(file.item, content.len())?, content, "{name} after a write");
    }
    Ok(())
}

/// Would catch an item that is not there and has data, another's among it.
fn unknown(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    for item in [0x3fff, 0x7fff, 0xffff, 0x3ff0] {
        fw.item(cfg::SIGNATURE, 1)?;
        assert_eq!(fw.item(item, 8)?, [0; 8], "the item {item:#x}");
    }
    assert_eq!(fw.item(cfg::SIGNATURE, 4)?, b"QEMU", "the signature afterwards");
    Ok(())
}

/// Would catch a reset of the machine that leaves another item than the signature selected, or
/// loses files.
fn machine_reset(fw: &FwCfg, vm: &Rc<Vm>) -> Result<()> {
    let before = fw.files()?;
    fw.item(cfg::UUID, 3)?;
    reset(vm)?;
    assert_eq!(fw.read(4)?, b"QEMU", "what is selected after a reset");
    let after = fw.files()?;
    assert_eq!(after, before, "the directory after a reset");
    Ok(())
}

/// Would catch a DMA address that is not recognised by what it reads as.
fn dma_signature(fw: &FwCfg, _: &Rc<Vm>) -> Result<()> {
    let (registers, offset) = fw.dma()?;
    let mut found = Vec::new();
    for at in 0..8 {
        found.push(registers.read(offset + at, Width::Byte)? as u8);
    }
    assert_eq!(found, DMA_SIGNATURE, "byte by byte");
    for (at, expected) in [(0, *b"QEMU"), (4, *b" CFG")] {
        let found = registers.read(offset + at, Width::Long)?;
        assert_eq!(found, fw.dma_word(u32::from_be_bytes(expected)), "32 bits at {at}");
    }
    Ok(())
}

/// Would catch DMA of other bytes, more or fewer, or to another address.
fn dma_read(fw: &FwCfg, vm: &Rc<Vm>) -> Result<()> {
    fw.dma()?;
    let memory = vm.ram().alloc(256, 8)?;
    for (name, content) in [SHORT, OTHER] {
        let item = fw.file(name)?.item;
        let control = u32::from(item) << 16 | DMA_SELECT | DMA_READ;
        for length in [content.len(), 5, 1, content.len() + 20] {
            memory.write(0, &[0xa5; 256])?;
            let what = format!("{length} bytes of {name}");
            assert_eq!(fw.transfer(control, Some(&memory), length)?, 0, "{what}: control");
            let found = memory.to_vec()?;
            let there = length.min(content.len());
            assert_eq!(found[..there], content[..there], "{what}");
            assert!(found[there..length].iter().all(|byte| *byte == 0), "{what}: behind the file");
            assert!(found[length..].iter().all(|byte| *byte == 0xa5), "{what}: behind the data");
        }
        // Without a selection it goes on; bytes come from where DMA has ended.
        assert_eq!(fw.transfer(control, Some(&memory), 3)?, 0, "a first part");
        assert_eq!(fw.transfer(DMA_READ, Some(&memory), 4)?, 0, "a second part");
        assert_eq!(memory.to_vec()?[..4], content[3..7], "the second part");
        assert_eq!(fw.read(2)?, content[7..9], "by the data register");
    }
    Ok(())
}

/// Would catch DMA that skips another number of bytes, or writes memory where it is to skip.
fn dma_skip(fw: &FwCfg, vm: &Rc<Vm>) -> Result<()> {
    fw.dma()?;
    let memory = vm.ram().alloc(64, 8)?;
    memory.write(0, &[0xa5; 64])?;
    let (name, content) = OTHER;
    let select = u32::from(fw.file(name)?.item) << 16 | DMA_SELECT;
    for skip in [0, 1, 7, 30] {
        let skipped = fw.transfer(select | DMA_SKIP, Some(&memory), skip)?;
        assert_eq!(skipped, 0, "{skip} bytes are skipped");
        assert!(memory.to_vec()? == [0xa5; 64], "memory where {skip} bytes are skipped");
        assert_eq!(fw.read(3)?, content[skip..skip + 3], "behind {skip} bytes");
    }
    // A selection alone.
    assert_eq!(fw.transfer(select, Some(&memory), 9)?, 0, "a selection alone");
    assert_eq!(fw.read(3)?, content[..3], "after a selection alone");
    assert!(memory.to_vec()? == [0xa5; 64], "memory where an item is selected");
    Ok(())
}

/// Would catch a write of an item that must not be written.
fn dma_refused(fw: &FwCfg, vm: &Rc<Vm>) -> Result<()> {
    fw.dma()?;
    let memory = vm.ram().alloc(64, 8)?;
    memory.write(0, &[0x5b; 64])?;
    let (name, content) = OTHER;
    let item = fw.file(name)?.item;
    for item in [item, cfg::SIGNATURE, cfg::UUID, 0x3fff] {
        let control = u32::from(item) << 16 | DMA_SELECT | DMA_WRITE;
        let answer = fw.transfer(control, Some(&memory), 4)?;
        assert_eq!(answer, DMA_ERROR, "a write of the item {item:#x}");
    }
    assert_eq!(fw.item(item, content.len())?, content, "the file");
    assert_eq!(fw.item(cfg::SIGNATURE, 4)?, b"QEMU", "the signature");
    assert_eq!(fw.item(cfg::UUID, 16)?, THE_UUID, "the UUID");
    Ok(())
}

/// Would catch DMA to memory that is not there which is told to be done, hangs, or ends QEMU.
fn dma_wild(fw: &FwCfg, vm: &Rc<Vm>) -> Result<()> {
    fw.dma()?;
    let control = u32::from(cfg::SIGNATURE) << 16 | DMA_SELECT | DMA_READ;
    let spec = vm.ram().spec();
    // Nothing is so far behind RAM.
    let nowhere = 0x000f_ffff_ffff_0000u64;
    for address in [nowhere, nowhere + 1] {
        let answer = fw.transfer_at(control, address, 4)?;
        assert_eq!(answer, DMA_ERROR, "to {address:#x}; RAM is at {:#x}", spec.base);
    }
    // A structure that is nowhere.
    fw.start_dma(nowhere)?;
    match fw.item(cfg::SIGNATURE, 4)? {
        found if found == b"QEMU" => Ok(()),
        other => Err(Error::failed(format!("the signature afterwards: {other:02x?}"))),
    }
}
