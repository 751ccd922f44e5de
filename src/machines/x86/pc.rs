//! The PC with the i440FX chipset.

use std::rc::Rc;

use crate::drivers::block::isa_fdc::IsaFdc;
use crate::drivers::i2c::pm_smbus::PmSmbus;
use crate::drivers::input::i8042::I8042;
use crate::drivers::nvram::fw_cfg::FwCfgIo;
use crate::drivers::pci::i440fx_pcihost::I440FxPcihost;
use crate::drivers::rtc::mc146818rtc::Mc146818;
use crate::drivers::timer::hpet::Hpet;
use crate::drivers::timer::i8254::I8254;
use crate::graph::{Boots, Contains, Produces, Setup};
use crate::guests::Way;
use crate::qemu::{MIB, RamSpec};
use crate::qos::isa::IsaBus;
use crate::{Result, boots, machine};

machine! {
    /// QEMU's `pc`.
    pub struct Pc = "x86_64/pc", "i386/pc";
    setup Setup::bare(RamSpec::new(0, 128 * MIB));
    contains I440FxPcihost, Mc146818, FwCfgIo, I8254, I8042, Hpet, IsaFdc, PmSmbus;
    produces IsaBus
}

impl Produces<IsaBus> for Pc {
    fn produced(self: Rc<Self>) -> Rc<IsaBus> {
        Rc::new(IsaBus(self.vm().clone()))
    }
}

boots!(Pc, Boots::with_serial(Way::Multiboot));
boots!(Pc, Boots::with_serial(Way::Kernel));
boots!(Pc, Boots::with_serial(Way::Bios));

impl Contains<I440FxPcihost> for Pc {
    fn contained(&self) -> Result<I440FxPcihost> {
        Ok(I440FxPcihost::new(&self.vm))
    }
}

impl Contains<Mc146818> for Pc {
    fn contained(&self) -> Result<Mc146818> {
        Ok(Mc146818::of_pc(&self.vm))
    }
}

impl Contains<FwCfgIo> for Pc {
    fn contained(&self) -> Result<FwCfgIo> {
        Ok(FwCfgIo::of_pc(&self.vm))
    }
}

impl Contains<I8254> for Pc {
    fn contained(&self) -> Result<I8254> {
        Ok(I8254::of_pc(&self.vm))
    }
}

impl Contains<I8042> for Pc {
    fn contained(&self) -> Result<I8042> {
        Ok(I8042::of_pc(&self.vm))
    }
}

impl Contains<Hpet> for Pc {
    fn contained(&self) -> Result<Hpet> {
        Hpet::of_pc(&self.vm)
    }
}

impl Contains<IsaFdc> for Pc {
    fn contained(&self) -> Result<IsaFdc> {
        Ok(IsaFdc::of_pc(&self.vm))
    }
}

impl Contains<PmSmbus> for Pc {
    fn contained(&self) -> Result<PmSmbus> {
        PmSmbus::of_pc(&self.vm)
    }
}
