//! The PCA9552: LEDs that are switched, pins that are read, numbers of registers that go up.

use std::rc::Rc;

use crate::drivers::sensor::pca9552::{AUTO_INCREMENT, BLINK, INPUT, OFF, ON, Pca9552, SELECT};
use crate::qemu::{Version, Vm};
use crate::qos::registers::RegistersExt;
use crate::{Result, tests};

tests!(Pca9552, "pca9552-tests":
    tx_rx = "tx-rx",
    rx_autoinc = "rx-autoinc",
    tx_autoinc = "tx-autoinc",
    every_pin = "every-pin",
    outside,
);

/// Both bytes of the pins as the device tells them.
fn raw(pca: &Pca9552) -> Result<u16> {
    let [low, high] = INPUT;
    let (low, high) = (pca.registers().get(low)?, pca.registers().get(high)?);
    Ok(u16::from_le_bytes([low, high]))
}

/// The pins, 0 where an LED is on. QEMU before 9.0 has it the other way round.
fn pins(pca: &Pca9552, vm: &Vm) -> Result<u16> {
    let is_inverted = vm.emulator().capabilities.version < Version::new(9, 0, 0);
    Ok(if is_inverted { !raw(pca)? } else { raw(pca)? })
}

/// Would catch an LED that another register switches, and a pin that is not low when its LED is on.
fn tx_rx(pca: &Pca9552, vm: &Rc<Vm>) -> Result<()> {
    assert_eq!(pins(pca, vm)?, 0xffff, "all LEDs are off at first");
    let registers = pca.registers();
    for (number, select) in SELECT.into_iter().enumerate() {
        registers.set(select, 0x54)?;
        assert_eq!(registers.get(select)?, 0x54, "{select}");
        assert_eq!(pins(pca, vm)?, !(1 << (4 * number)), "{select}: its first LED is on");
        registers.set(select, 0x55)?;
        assert_eq!(pins(pca, vm)?, 0xffff, "{select}: off again");
    }
    for (number, register) in (1..).zip(BLINK) {
        registers.set(register, 0x10 + number)?;
    }
    for (number, register) in (1..).zip(BLINK) {
        assert_eq!(registers.get(register)?, 0x10 + number, "{register}");
    }
    assert_eq!(pins(pca, vm)?, 0xffff, "the pins, with other rates");
    Ok(())
}

/// Would catch a number that does not go up while it is read, goes past the last register, or goes
/// up although it must not.
fn rx_autoinc(pca: &Pca9552, _: &Rc<Vm>) -> Result<()> {
    for (value, select) in [0x11, 0x51, 0x14, 0x45].into_iter().zip(SELECT) {
        pca.registers().set(select, value)?;
    }
    let all = [0xff, 0x80, 0xff, 0x80, 0x11, 0x51, 0x14, 0x45];
    assert_eq!(pca.device().read_from::<8>(2 | AUTO_INCREMENT)?, all, "from PSC0 on");
    let some = pca.device().read_from::<3>(7 | AUTO_INCREMENT)?;
    assert_eq!(some, [0x51, 0x14, 0x45], "from LS1 on");
    let round = pca.device().read_from::<4>(9 | AUTO_INCREMENT)?;
    let [low, high] = raw(pca)?.to_le_bytes();
    assert_eq!(round, [0x45, low, high, 0xff], "from LS3 on: INPUT0 comes after it");
    assert_eq!(pca.device().read_from::<3>(8)?, [0x14; 3], "LS2 three times");
    Ok(())
}

/// Would catch the same while registers are written.
fn tx_autoinc(pca: &Pca9552, vm: &Rc<Vm>) -> Result<()> {
    pca.device().write_from(6 | AUTO_INCREMENT, &[0x50, 0x05, 0x00, 0x41])?;
    assert_eq!(pca.device().read_from::<4>(6 | AUTO_INCREMENT)?, [0x50, 0x05, 0x00, 0x41]);
    // Of every four LEDs, those with two bits of zero are on.
    assert_eq!(pins(pca, vm)?, 0b1001_0000_0011_1100, "the pins");
    pca.device().write_from(2 | AUTO_INCREMENT, &[1, 2, 3, 4])?;
    assert_eq!(pca.device().read_from::<5>(2 | AUTO_INCREMENT)?, [1, 2, 3, 4, 0x50]);
    Ok(())
}

/// Would catch two LEDs that are switched together, or one that is not.
fn every_pin(pca: &Pca9552, vm: &Rc<Vm>) -> Result<()> {
    let all_off = OFF * 0b0101_0101;
    for led in 0..16 {
        let (select, shift) = (SELECT[led / 4], 2 * (led % 4));
        let value = all_off & !(0b11 << shift) | ON << shift;
        pca.registers().set(select, value)?;
        assert_eq!(pins(pca, vm)?, !(1 << led), "LED {led} is on");
        pca.registers().set(select, all_off)?;
    }
    // A pin cannot be written.
    pca.registers().set(INPUT[0], 0)?;
    pca.registers().set(INPUT[1], 0)?;
    assert_eq!(pins(pca, vm)?, 0xffff, "the pins after they were written");
    Ok(())
}

/// Would catch a state of an LED that the world outside sees otherwise than the guest.
fn outside(pca: &Pca9552, vm: &Rc<Vm>) -> Result<()> {
    let path = pca.outside().path();
    for (led, value, name) in
        [(0, 0b00, "on"), (5, 0b01, "off"), (10, 0b10, "pwm0"), (15, 0b11, "pwm1")]
    {
        let (select, shift) = (SELECT[led / 4], 2 * (led % 4));
        pca.registers().set(select, 0x55 & !(0b11 << shift) | value << shift)?;
        let property = serde_json::json!({ "path": path, "property": format!("led{led}") });
        assert_eq!(vm.qmp().execute("qom-get", property)?, name, "LED {led}");
    }
    let set = serde_json::json!({ "path": path, "property": "led7", "value": "on" });
    vm.qmp().execute("qom-set", set)?;
    assert_eq!(pca.registers().get(SELECT[1])?, 0x15, "LS1 with LED 7 on");
    assert_eq!(pins(pca, vm)? & 1 << 7, 0, "the pin of LED 7");
    Ok(())
}
