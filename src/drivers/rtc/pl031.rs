//! The PL031 real-time clock, which counts seconds (Arm, PrimeCell Real Time Clock technical
//! reference manual, DDI 0224B, chapter 3).

use std::rc::Rc;

use crate::graph::{Discovered, FoundDevice, Produces, QemuArgs};
use crate::qemu::Vm;
use crate::qos::interrupt::{InterruptLine, Pin};
use crate::qos::registers::{
    AnyRegister, Fault, Mmio, Register, RegisterBlock, Registers, RegistersExt, Rule,
};
use crate::qos::rtc::{self, Alarm, DateTime, Profile, Rtc};
use crate::{Error, Result, discovered, driver};

/// Data: seconds.
pub const DATA: Register<u32> =
    Register::new("RTCDR", 0x00).section("3.3.1").volatile(0xffff_ffff).side_effect();
/// Match: the alarm.
pub const MATCH: Register<u32> =
    Register::new("RTCMR", 0x04).section("3.3.2").reset(0).kept(0xffff_ffff);
/// Load: sets the time; reading tells what was written last.
pub const LOAD: Register<u32> =
    Register::new("RTCLR", 0x08).section("3.3.3").reset(0).kept(0xffff_ffff);
/// Control: the clock is started, for ever once it is.
pub const CONTROL: Register<u32> =
    Register::new("RTCCR", 0x0c).section("3.3.4").volatile(1).side_effect();
/// Interrupt mask: 1 lets the interrupt through.
pub const MASK: Register<u32> = Register::new("RTCIMSC", 0x10).section("3.3.5").reset(0).kept(1);
/// Raw interrupt status. A match with the time, which a test of other registers may bring
/// about, sets it.
pub const RAW_STATUS: Register<u32> =
    Register::new("RTCRIS", 0x14).section("3.3.6").volatile(1).side_effect();
/// Masked interrupt status.
pub const MASKED_STATUS: Register<u32> =
    Register::new("RTCMIS", 0x18).section("3.3.7").volatile(1).side_effect();
/// Interrupt clear.
pub const CLEAR: Register<u32> =
    Register::new("RTCICR", 0x1c).section("3.3.8").write_only().side_effect();

/// A byte of the identification.
const fn id(name: &'static str, offset: u64, value: u64) -> Register<u32> {
    Register::new(name, offset).section("3.3.9").reset(value).read_only()
}

/// All registers.
const TABLE: &[&dyn AnyRegister] = &[
    &DATA,
    &MATCH,
    &LOAD,
    &CONTROL,
    &MASK,
    &RAW_STATUS,
    &MASKED_STATUS,
    &CLEAR,
    &id("RTCPeriphID0", 0xfe0, 0x31),
    &id("RTCPeriphID1", 0xfe4, 0x10),
    // Designer and the first revision: QEMU models an r1p0.
    &id("RTCPeriphID2", 0xfe8, 0x14),
    &id("RTCPeriphID3", 0xfec, 0x00),
    &id("RTCPCellID0", 0xff0, 0x0d),
    &id("RTCPCellID1", 0xff4, 0xf0),
    &id("RTCPCellID2", 0xff8, 0x05),
    &id("RTCPCellID3", 0xffc, 0xb1),
];

/// What QEMU does otherwise.
const FAULTS: &[Fault] = &[Fault::new(
    &["RTCMR", "RTCLR", "RTCIMSC"],
    &[Rule::MachineReset],
    "QEMU's pl031 has no reset: what PRESETn resets stays",
)];

/// QEMU's `pl031`.
pub struct Pl031 {
    vm: Rc<Vm>,
    registers: Rc<Mmio>,
    pin: Option<Pin>,
}

impl Pl031 {
    /// Its registers.
    pub fn registers(&self) -> &dyn Registers {
        &*self.registers
    }
}

fn seconds(time: DateTime) -> Result<u32> {
    u32::try_from(rtc::to_epoch(time))
        .map_err(|_| Error::failed(format!("32 bits of seconds cannot hold {time}")))
}

impl Rtc for Pl031 {
    fn profile(&self) -> Profile {
        Profile::SECONDS_32
    }

    fn time(&self) -> Result<DateTime> {
        rtc::from_epoch(self.registers().get(DATA)?.into())
    }

    fn set_time(&self, time: DateTime) -> Result<()> {
        self.registers().set(LOAD, seconds(time)?)
    }

    fn alarm(&self) -> Option<&dyn Alarm> {
        Some(self)
    }
}

impl Alarm for Pl031 {
    fn set(&self, at: DateTime) -> Result<()> {
        self.registers().set(MATCH, seconds(at)?)?;
        self.registers().set(CLEAR, 1)
    }

    fn enable(&self, is_enabled: bool) -> Result<()> {
        self.registers().set(MASK, is_enabled.into())
    }

    fn take(&self) -> Result<bool> {
        let (raw, mask) = (self.registers().get(RAW_STATUS)?, self.registers().get(MASK)?);
        let masked = self.registers().get(MASKED_STATUS)?;
        if raw & !1 != 0 || mask & !1 != 0 || masked != raw & mask {
            return Err(Error::failed(format!("RTCMIS is {masked:#x}, of {raw:#x} and {mask:#x}")));
        }
        if raw != 0 {
            self.registers().set(CLEAR, 0)?;
            if self.registers().get(RAW_STATUS)? != raw {
                return Err(Error::failed("a zero in RTCICR cleared the interrupt"));
            }
        }
        self.registers().set(CLEAR, 1)?;
        match self.registers().get(RAW_STATUS)? {
            0 => Ok(raw != 0),
            left => Err(Error::failed(format!("RTCRIS is {left:#x}, cleared"))),
        }
    }

    fn line(&self) -> Result<Option<InterruptLine>> {
        self.pin.as_ref().map(|pin| pin.watch(&self.vm)).transpose()
    }
}

impl Produces<dyn Rtc> for Pl031 {
    const ARGS: QemuArgs = rtc::ARGS;

    fn produced(self: Rc<Self>) -> Rc<dyn Rtc> {
        self
    }
}

impl Produces<RegisterBlock> for Pl031 {
    fn produced(self: Rc<Self>) -> Rc<RegisterBlock> {
        Rc::new(RegisterBlock::new("DDI 0224B", self.registers.clone(), TABLE).faults(FAULTS))
    }
}

impl Discovered for Pl031 {
    const QOM_TYPES: &'static [&'static str] = &["pl031"];

    fn found(device: &FoundDevice, vm: &Rc<Vm>) -> Result<Self> {
        let registers = Rc::new(Mmio::new(vm, device.base()?, vm.endian()?));
        Ok(Self { vm: vm.clone(), registers, pin: Pin::of(device, 0) })
    }
}

driver!(Pl031 = "pl031"; produces dyn Rtc, RegisterBlock);
discovered!(Pl031);
