//! Options that all guests of a kind get: devices by which they say how they fare.

/// Options of QEMU's command line, for emulators that have a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fixture {
    /// The device type without which the options are left out; empty for none.
    pub needs: &'static str,
    /// The options, a word each.
    pub words: &'static [&'static str],
}

impl Fixture {
    const fn always(words: &'static [&'static str]) -> Self {
        Self { needs: "", words }
    }

    const fn with(needs: &'static str, words: &'static [&'static str]) -> Self {
        Self { needs, words }
    }
}

/// The device by whose port 0xf4 a guest on a PC ends QEMU with (CODE << 1) | 1.
pub(super) const DEBUG_EXIT: Fixture =
    Fixture::always(&["-device", "isa-debug-exit,iobase=0xf4,iosize=0x4"]);

const PCI_TESTDEV: Fixture = Fixture::with("pci-testdev", &["-device", "pci-testdev"]);

/// What guests of kvm-unit-tests get, by the name of the architecture's folder there.
pub(super) fn of_unit_tests(folder: &str) -> &'static [Fixture] {
    const X86: &[Fixture] = &[
        Fixture::with("kvm-pit", &["-global", "kvm-pit.lost_tick_policy=discard"]),
        Fixture::with("pc-testdev", &["-device", "pc-testdev"]),
        DEBUG_EXIT,
        PCI_TESTDEV,
    ];
    const ARM: &[Fixture] = &[
        Fixture::always(&["-device", "virtio-serial-device"]),
        Fixture::always(&["-chardev", "testdev,id=ctd"]),
        Fixture::always(&["-device", "virtconsole,chardev=ctd"]),
        PCI_TESTDEV,
    ];
    match folder {
        "x86" => X86,
        "arm" => ARM,
        _ => &[],
    }
}
