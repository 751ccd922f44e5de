//! The PC with the Q35 chipset.

use std::rc::Rc;

use crate::drivers::i2c::pm_smbus::PmSmbus;
use crate::drivers::input::i8042::I8042;
use crate::drivers::nvram::fw_cfg::FwCfgIo;
use crate::drivers::pci::q35_pcihost::Q35Pcihost;
use crate::drivers::rtc::mc146818rtc::Mc146818;
use crate::drivers::timer::hpet::Hpet;
use crate::drivers::timer::i8254::I8254;
use crate::drivers::watchdog::tco::Tco;
use crate::graph::{Boots, Contains, Produces, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::qos::isa::IsaBus;
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `q35`.
    pub struct Q35 = "x86_64/q35", "i386/q35";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains Q35Pcihost, Mc146818, FwCfgIo, I8254, I8042, Hpet, Tco, PmSmbus;
    produces IsaBus
}

impl Produces<IsaBus> for Q35 {
    fn produced(self: Rc<Self>) -> Rc<IsaBus> {
        Rc::new(IsaBus(self.vm().clone()))
    }
}

boots!(Q35, Boots::with_serial(Way::Multiboot));
boots!(Q35, Boots::with_serial(Way::Kernel));
boots!(Q35, Boots::with_serial(Way::Bios));

impl Contains<Q35Pcihost> for Q35 {
    fn contained(&self) -> Result<Q35Pcihost> {
        Ok(Q35Pcihost::new(&self.vm))
    }
}

impl Contains<Mc146818> for Q35 {
    fn contained(&self) -> Result<Mc146818> {
        Ok(Mc146818::of_pc(&self.vm))
    }
}

impl Contains<FwCfgIo> for Q35 {
    fn contained(&self) -> Result<FwCfgIo> {
        Ok(FwCfgIo::of_pc(&self.vm))
    }
}

impl Contains<I8254> for Q35 {
    fn contained(&self) -> Result<I8254> {
        Ok(I8254::of_pc(&self.vm))
    }
}

impl Contains<I8042> for Q35 {
    fn contained(&self) -> Result<I8042> {
        Ok(I8042::of_pc(&self.vm))
    }
}

impl Contains<Hpet> for Q35 {
    fn contained(&self) -> Result<Hpet> {
        Hpet::of_pc(&self.vm)
    }
}

impl Contains<Tco> for Q35 {
    fn contained(&self) -> Result<Tco> {
        Tco::of_q35(&self.vm)
    }
}

impl Contains<PmSmbus> for Q35 {
    fn contained(&self) -> Result<PmSmbus> {
        PmSmbus::of_q35(&self.vm)
    }
}
