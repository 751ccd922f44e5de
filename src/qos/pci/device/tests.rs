//! A function's identity, Command and capability list.

use super::super::fake::{AT, FakeBus, Function};
use super::*;

/// Would catch an empty slot taken for a function, and ID registers mixed up.
#[test]
fn only_a_function_that_is_there_is_found() {
    let (bus, device) = FakeBus::with(Function::new().set(0, 0x5678_1234));
    assert_eq!((device.vendor_id().unwrap(), device.device_id().unwrap()), (0x1234, 0x5678));
    assert_eq!((device.ids(), device.address()), ((0x1234, 0x5678), AT));
    let bus: Rc<dyn PciBus> = bus;
    let absent = PciDevice::find(&bus, PciAddress::new(3, 1)).map(|_| ()).unwrap_err();
    assert_eq!(absent.to_string(), "no PCI function at 00:03.1");
}

/// Would catch accesses of the wrong width or place, which overwrite a neighbour.
#[test]
fn configuration_space_is_accessed_as_wide_as_asked() {
    let (bus, device) = FakeBus::with(Function::new().set(0x40, 0x4433_2211).writable(0x40, !0));
    assert_eq!(device.config_read8(0x41).unwrap(), 0x22);
    assert_eq!(device.config_read16(0x42).unwrap(), 0x4433);
    device.config_write8(0x41, 0xaa).unwrap();
    assert_eq!(bus.raw(0x40), 0x4433_aa11);
    device.config_write16(0x42, 0xbbcc).unwrap();
    assert_eq!(bus.raw(0x40), 0xbbcc_aa11);
    device.config_write32(0x40, 1).unwrap();
    assert_eq!(device.config_read32(0x40).unwrap(), 1);
}

/// Would catch a device driven although it cannot be a bus master, bits of Command that get
/// lost, and one refused because it has no I/O.
#[test]
fn enabling_needs_the_bus_master_bit() {
    let (bus, device) = FakeBus::with(Function::new().set(4, 0x100).writable(4, 0x7));
    device.enable().unwrap();
    assert_eq!(bus.raw(regs::COMMAND), 0x107);
    let (bus, device) = FakeBus::with(Function::new().writable(4, 0x6));
    device.enable().unwrap();
    assert_eq!(bus.raw(regs::COMMAND), 0x6);
    let (_, device) = FakeBus::with(Function::new().writable(4, 0x3));
    assert_eq!(
        device.enable().unwrap_err().to_string(),
        "00:03.0: wrote 0x0007 to Command, read back 0x0003: no bus master"
    );
}

/// A function with a capability list that begins at `first` and has these entries: where,
/// id and next pointer.
fn with_list(first: u8, entries: &[(u16, u8, u8)]) -> PciDevice {
    let mut function = Function::new();
    function.set(regs::COMMAND, u32::from(regs::STATUS_CAP_LIST) << 16);
    function.set(regs::CAPABILITY_LIST, first.into());
    for &(at, id, next) in entries {
        function.set(at, u32::from(next) << 8 | u32::from(id));
    }
    FakeBus::with(&mut function).1
}

fn offsets(device: &PciDevice) -> Vec<(u8, u16)> {
    let list = device.capabilities().unwrap();
    list.iter().map(|capability| (capability.id, capability.offset)).collect()
}

/// Would catch a list that is read although Status says there is none, and one cut short.
#[test]
fn capability_lists_are_followed_to_their_end() {
    let (_, none) = FakeBus::with(Function::new().set(regs::CAPABILITY_LIST, 0x40));
    assert_eq!(offsets(&none), []);
    assert_eq!(offsets(&with_list(0, &[])), []);
    let two = with_list(0xf0, &[(0xf0, 0x11, 0x40), (0x40, 5, 0)]);
    assert_eq!(offsets(&two), [(0x11, 0xf0), (5, 0x40)]);
    // Two of one kind.
    let twice = with_list(0x50, &[(0x50, 9, 0x40), (0x40, 9, 0)]);
    assert_eq!(offsets(&twice), [(9, 0x50), (9, 0x40)]);
    // As many as fit.
    let full: Vec<_> = (0x10..0x40u16).map(|n| (4 * n, 9, (4 * n + 4) as u8)).collect();
    assert_eq!(offsets(&with_list(0x40, &full)).len(), 48);
}

/// Would catch a device whose broken list hangs the harness, or is told as something else.
#[test]
fn broken_capability_lists_are_errors() {
    let error = |device: PciDevice| device.capabilities().unwrap_err().to_string();
    let entry = "Capability { id: 5, offset: 40 }";
    let no_end = "an entry that came before, so that it has no end";
    assert_eq!(
        error(with_list(0x40, &[(0x40, 5, 0x40)])),
        format!("00:03.0: the capability list [{entry}] goes on at 0x40: {no_end}")
    );
    let long = with_list(0x40, &[(0x40, 5, 0x50), (0x50, 9, 0x60), (0x60, 1, 0x50)]);
    assert!(error(long).ends_with(&format!("goes on at 0x50: {no_end}")));
    let header = "the header, where none can be";
    assert_eq!(
        error(with_list(0x3c, &[])),
        format!("00:03.0: the capability list [] goes on at 0x3c: {header}")
    );
    assert_eq!(
        error(with_list(0x40, &[(0x40, 5, 0x04)])),
        format!("00:03.0: the capability list [{entry}] goes on at 0x4: {header}")
    );
    // A pointer's two lowest bits must be 0 (PCI 3.0, 6.7).
    for first in [1, 3, 0x42] {
        assert!(error(with_list(first, &[(0x40, 5, 0)])).contains("reserved bits"));
    }
    assert!(error(with_list(0x40, &[(0x40, 5, 0x51)])).contains("reserved bits"));
    for id in [0, 0x16, 0xff] {
        let said = error(with_list(0x40, &[(0x40, id, 0)]));
        let expected =
            format!("00:03.0: the capability at 0x40 has the ID {id:#04x}, which is reserved");
        assert_eq!(said, expected);
    }
}
