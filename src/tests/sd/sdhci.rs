//! SD host controllers: identification, reset, the registers' writable bits, and a card.

use std::rc::Rc;

use crate::drivers::sd::sd_card::{IMAGE, SdCard};
use crate::qemu::{Version, Vm};
use crate::qos::registers::RegistersExt;
use crate::qos::sd::BLOCK;
use crate::qos::sdhci::{self, Sdhci, VERSION_3_00, Vendor, capabilities};
use crate::qos::wait_until;
use crate::{Result, tests};

tests!(dyn Sdhci, "sdhci-tests":
    registers,
    reset_values = "reset-values",
    software_reset = "software-reset",
    block_size = "block-size",
    block_count = "block-count",
);
tests!(SdCard, "sdhci-tests":
    card_init = "card-init",
    card_block = "card-block",
);

/// Would catch a controller that says it is of another version, can do something else, or
/// has another clock than the board's, and one whose capabilities the guest can overwrite.
fn registers(sdhci: &dyn Sdhci, _: &Rc<Vm>) -> Result<()> {
    let (registers, known) = (sdhci.registers(), sdhci.profile());
    let version = registers.get(sdhci::HOST_CONTROLLER_VERSION)? as u8;
    let is_known = known.versions.contains(&version);
    assert!(is_known, "specification version number {version}, not {:?}", known.versions);
    let value = registers.get(sdhci::CAPABILITIES)?;
    assert_eq!(value, known.capabilities, "Capabilities: {value:#x}");
    for written in [!0, 0] {
        registers.set(sdhci::CAPABILITIES, written)?;
        let after = registers.get(sdhci::CAPABILITIES)?;
        assert_eq!(after, value, "Capabilities must be read-only, wrote {written:#x}");
    }

    let is_v3 = version >= VERSION_3_00;
    for &(lowest, bits) in if is_v3 { RESERVED_IN_V3 } else { RESERVED_BEFORE_V3 } {
        let field = capabilities::field(value, (lowest, bits));
        assert_eq!(field, 0, "reserved: {bits} bits from bit {lowest} on of {value:#x}");
    }
    let sdma = capabilities::field(value, capabilities::SDMA);
    assert_eq!(sdma == 1, known.sdma, "SDMA support");
    let clock = if is_v3 { capabilities::BASE_CLOCK_V3 } else { capabilities::BASE_CLOCK_V2 };
    let clock = capabilities::field(value, clock);
    assert_eq!(clock, known.base_clock_mhz, "base clock in MHz");
    Ok(())
}

/// What version 3.00 leaves reserved in Capabilities (2.2.25). Bit 20 is not here: it was
/// the support of ADMA1 once, and controllers still set it.
const RESERVED_IN_V3: &[(u32, u32)] = &[(6, 1), (27, 1), (35, 1), (39, 1), (44, 1), (56, 8)];
/// What came with version 3.00: speeds, driver types, tuning, the clock multiplier.
const RESERVED_BEFORE_V3: &[(u32, u32)] = &[(32, 32)];

/// What is so after a reset whatever the controller's own registers are: nothing is under way,
/// no interrupt pends, the clock and the power are off. All other registers are the generic
/// suite's matter.
fn assert_idle(sdhci: &dyn Sdhci) -> Result<()> {
    let registers = sdhci.registers();
    // The uSDHC cannot set the SDMA boundary, and shows the largest one as set.
    let boundary = match sdhci.profile().vendor {
        Vendor::Standard => 0,
        Vendor::Usdhc => 0x7000,
    };
    let size = registers.get(sdhci::BLOCK_SIZE)?;
    assert_eq!(size & !boundary, 0, "Block Size after a reset: {size:#x}");
    for register in [
        sdhci::TRANSFER_MODE,
        sdhci::COMMAND,
        sdhci::CLOCK_CONTROL,
        sdhci::NORMAL_INTERRUPT_STATUS,
        sdhci::ERROR_INTERRUPT_STATUS,
        sdhci::SLOT_INTERRUPT_STATUS,
    ] {
        let value = registers.get(register)?;
        assert_eq!(value, 0, "{} after a reset: {value:#x}", register.name());
    }
    let power = registers.get(sdhci::POWER_CONTROL)?;
    assert_eq!(power, 0, "Power Control after a reset: {power:#x}");
    let state = registers.get(sdhci::PRESENT_STATE)?;
    let busy = sdhci::COMMAND_INHIBIT_CMD
        | sdhci::COMMAND_INHIBIT_DAT
        | sdhci::BUFFER_READ_ENABLE
        | sdhci::BUFFER_WRITE_ENABLE;
    assert_eq!(state & busy, 0, "Present State after a reset: {state:#x}");
    Ok(())
}

/// Would catch a machine that starts with a controller that is at work.
fn reset_values(sdhci: &dyn Sdhci, _: &Rc<Vm>) -> Result<()> {
    assert_idle(sdhci)
}

/// Would catch a clock that never becomes stable, and a Software Reset For All (2.2.16) that
/// never ends, leaves the clock running, or resets what it must not.
fn software_reset(sdhci: &dyn Sdhci, vm: &Rc<Vm>) -> Result<()> {
    let registers = sdhci.registers();
    registers.set(sdhci::BLOCK_SIZE, 0x200)?;
    registers.set(sdhci::CLOCK_CONTROL, sdhci::INTERNAL_CLOCK_ENABLE)?;
    wait_until(vm, "a stable internal clock", || {
        let stable = sdhci::INTERNAL_CLOCK_ENABLE | sdhci::INTERNAL_CLOCK_STABLE;
        Ok(registers.get(sdhci::CLOCK_CONTROL)? == stable)
    })?;
    let size = registers.get(sdhci::BLOCK_SIZE)? & 0xfff;
    assert_eq!(size, 0x200, "Transfer Block Size");
    let (version, can) = (sdhci::HOST_CONTROLLER_VERSION, sdhci::CAPABILITIES);
    let fixed = (registers.get(version)?, registers.get(can)?);

    registers.set(sdhci::SOFTWARE_RESET, sdhci::RESET_FOR_ALL)?;
    wait_until(vm, "the controller's reset", || Ok(registers.get(sdhci::SOFTWARE_RESET)? == 0))?;
    assert_idle(sdhci)?;
    let after = (registers.get(version)?, registers.get(can)?);
    assert_eq!(after, fixed, "version and capabilities stay");
    Ok(())
}

/// Would catch reserved bits that can be written, bits that cannot, and a block larger
/// than the controller's buffer. Transfer Block Size is bits 11:0, Host SDMA Buffer
/// Boundary bits 14:12 (2.2.2).
fn block_size(sdhci: &dyn Sdhci, vm: &Rc<Vm>) -> Result<()> {
    let (registers, known) = (sdhci.registers(), sdhci.profile());
    let largest = capabilities::field(known.capabilities, capabilities::MAX_BLOCK_LENGTH);
    assert_eq!(u64::from(known.max_block), 512 << largest, "Max Block Length");
    for boundary in boundaries(known.vendor, vm) {
        for bit in 0..=known.max_block.ilog2() {
            let written = boundary | 1 << bit;
            registers.set(sdhci::BLOCK_SIZE, written)?;
            let value = registers.get(sdhci::BLOCK_SIZE)?;
            assert_eq!(value, written, "Block Size: wrote {written:#x}, read {value:#x}");
        }
    }
    registers.set(sdhci::BLOCK_SIZE, !0)?;
    let value = registers.get(sdhci::BLOCK_SIZE)?;
    assert_eq!(value >> 15, 0, "bit 15 is reserved: {value:#x}");
    assert!(value & 0xfff <= known.max_block, "Block Size: a block too large: {value:#x}");
    Ok(())
}

/// The values of Host SDMA Buffer Boundary that can be set.
fn boundaries(vendor: Vendor, vm: &Vm) -> &'static [u16] {
    // QEMU before 7.2 lost these bits in every controller.
    if vm.emulator().capabilities.version < Version::new(7, 2, 0) {
        return &[0];
    }
    match vendor {
        Vendor::Standard => &[0, 0x1000, 0x2000, 0x4000, 0x7000],
        Vendor::Usdhc => &[0x7000],
    }
}

/// Would catch a bit of Block Count (2.2.3) that is not kept, and a write to it that
/// changes its neighbour.
fn block_count(sdhci: &dyn Sdhci, _: &Rc<Vm>) -> Result<()> {
    let registers = sdhci.registers();
    registers.set(sdhci::BLOCK_SIZE, 0x200)?;
    let size = registers.get(sdhci::BLOCK_SIZE)?;
    for written in (0..16).map(|bit| 1 << bit).chain([0, !0, 0x5aa5]) {
        registers.set(sdhci::BLOCK_COUNT, written)?;
        let value = registers.get(sdhci::BLOCK_COUNT)?;
        assert_eq!(value, written, "Block Count: wrote {written:#x}, read {value:#x}");
    }
    let after = registers.get(sdhci::BLOCK_SIZE)?;
    assert_eq!(after, size, "Block Size, when only Block Count was written");
    Ok(())
}

/// Would catch a card or controller that does not get through the initialisation, and a
/// card that tells another capacity than its image has (CSD version 1.0, Physical Layer
/// 5.3.2: C_SIZE is bits 73:62, C_SIZE_MULT 49:47, READ_BL_LEN 83:80).
fn card_init(card: &SdCard, _: &Rc<Vm>) -> Result<()> {
    let identity = card.plain().initialise()?;
    assert_ne!(identity.rca, 0, "the card publishes an address");
    assert_eq!(identity.ocr, 0x80ff_ff00, "OCR: up, a card of up to 2 GB, all voltages");
    // The response registers hold bits 127:8, so a field begins 8 bits further down.
    let register =
        |words: [u32; 4]| words.iter().rev().fold(0u128, |all, &word| all << 32 | u128::from(word));
    // Manufacturer, OEM, name, revision, serial number and date (Physical Layer 5.2) of
    // QEMU's card.
    let cid = register(identity.cid);
    assert_eq!(cid, CID, "CID: {cid:#x}");
    let csd = register(identity.csd);
    let field = |lowest: u32, bits: u32| (csd >> (lowest - 8)) as u64 & ((1 << bits) - 1);
    assert_eq!(field(126, 2), 0, "CSD structure version 1.0: {csd:#x}");
    let (size, multiplier, length) = (field(62, 12), field(47, 3), field(80, 4));
    let capacity = (size + 1) << (multiplier + 2) << length;
    assert_eq!(capacity, IMAGE.size, "capacity in bytes: {csd:#x}");
    Ok(())
}

/// CID of QEMU's card, bits 127:8: manufacturer 0xaa, "XY", "QEMU!", revision 0.1, serial
/// number 0xdeadbeef, February 2006.
const CID: u128 = 0x00aa_5859_5145_4d55_2101_dead_beef_0062;

/// Would catch data that is swapped, shifted or lost between the image and the Buffer Data
/// Port, in either direction, and a block address that is off.
fn card_block(card: &SdCard, vm: &Rc<Vm>) -> Result<()> {
    let pattern =
        |seed: usize| std::array::from_fn::<u8, BLOCK, _>(|i| (i * 7 + i / 256 + seed) as u8);
    let last = (IMAGE.size / BLOCK as u64 - 1) as u32;
    let card = card.plain();
    let identity = card.initialise()?;
    for (seed, block) in [(1, 0), (2, 77), (3, last)] {
        let offset = u64::from(block) * BLOCK as u64;
        vm.write_image(IMAGE.name, offset, &pattern(seed))?;
        let data = card.read_block(&identity, block)?;
        assert_eq!(data, pattern(seed), "block {block}, read from the card");

        card.write_block(&identity, block, &pattern(seed + 100))?;
        let mut image = [0; BLOCK];
        vm.read_image(IMAGE.name, offset, &mut image)?;
        assert_eq!(image, pattern(seed + 100), "block {block}, written, in the image");
        let data = card.read_block(&identity, block)?;
        assert_eq!(data, pattern(seed + 100), "block {block}, written and read back");
    }
    let mut beside = [0; BLOCK];
    vm.read_image(IMAGE.name, 78 * BLOCK as u64, &mut beside)?;
    assert_eq!(beside, [0; BLOCK], "the block beside a written one stays");
    Ok(())
}
