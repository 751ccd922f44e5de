//! What the fake emulator emulates: PCI configuration mechanism #1 (PCI 3.0, 3.2.2.3.2), and
//! behind it one function, an SD host controller of version 2.00 without a card. Enough for
//! the suite `sdhci-tests`; the requests come as the words of qtest.

/// Bytes of registers, and which of their bits can be written.
struct Registers {
    bytes: [u8; 256],
    writable: [u8; 256],
}

/// A value of up to 8 bytes, the least significant first.
fn put(bytes: &mut [u8; 256], at: usize, width: usize, value: u64) {
    bytes[at..at + width].copy_from_slice(&value.to_le_bytes()[..width]);
}

impl Registers {
    fn read(&self, at: usize, width: usize) -> u64 {
        let byte = |at: usize| u64::from(*self.bytes.get(at).unwrap_or(&0xff));
        (0..width).rev().fold(0, |value, i| value << 8 | byte(at + i))
    }

    fn write(&mut self, at: usize, width: usize, value: u64) {
        for (i, new) in value.to_le_bytes().into_iter().take(width).enumerate() {
            if let (Some(old), Some(mask)) = (self.bytes.get_mut(at + i), self.writable.get(at + i))
            {
                *old = *old & !mask | new & mask;
            }
        }
    }
}

/// Where the controller is: device 4, function 0 of bus 0.
const FUNCTION: u32 = 4 << 11;
/// Capabilities, a register that only one test writes: fakes misbehave there.
const CAPABILITIES: usize = 0x40;

/// The machine.
pub struct Pc {
    config_address: u32,
    config: Registers,
    sdhci: Registers,
    clock: i64,
}

/// What a request is answered with, and whether it is the one at which fakes misbehave.
pub struct Answer {
    pub text: String,
    pub is_cue: bool,
}

impl Pc {
    pub fn new() -> Self {
        let mut config = Registers { bytes: [0; 256], writable: [0; 256] };
        put(&mut config.bytes, 0x00, 4, 0x0007_1b36);
        put(&mut config.bytes, 0x08, 4, 0x0805_0000);
        put(&mut config.writable, 0x04, 2, 0x0007);
        put(&mut config.writable, 0x10, 4, 0xffff_ff00);
        let mut writable = [0; 256];
        for (at, width, mask) in [
            (0x00, 4, 0xffff_ffff), // SDMA System Address
            (0x04, 2, 0x7fff),      // Block Size
            (0x06, 2, 0xffff),      // Block Count
            (0x08, 4, 0xffff_ffff), // Argument
            (0x0c, 2, 0x0037),      // Transfer Mode
            (0x28, 1, 0xff),        // Host Control 1
            (0x29, 1, 0x0f),        // Power Control
            (0x2c, 2, 0xff05),      // Clock Control
            (0x2e, 1, 0x0f),        // Timeout Control
            (0x34, 2, 0x01ff),      // Normal Interrupt Status Enable
            (0x36, 2, 0x03ff),      // Error Interrupt Status Enable
            (0x38, 2, 0x01ff),      // Normal Interrupt Signal Enable
            (0x3a, 2, 0x03ff),      // Error Interrupt Signal Enable
        ] {
            put(&mut writable, at, width, mask);
        }
        let sdhci = Registers { bytes: [0; 256], writable };
        let mut pc = Self { config_address: 0, config, sdhci, clock: 0 };
        pc.reset_sdhci();
        pc
    }

    /// Makes the controller another one than it is.
    pub fn spoil(&mut self) {
        put(&mut self.sdhci.bytes, CAPABILITIES, 8, 0x0578_34b5);
    }

    fn reset_sdhci(&mut self) {
        self.sdhci.bytes = [0; 256];
        put(&mut self.sdhci.bytes, CAPABILITIES, 8, 0x0578_34b4);
        put(&mut self.sdhci.bytes, 0xfe, 2, 0x2401);
    }

    fn sdhci_write(&mut self, at: usize, width: usize, value: u64) {
        self.sdhci.write(at, width, value);
        if at == 0x2f && value & 1 != 0 {
            self.reset_sdhci();
        }
        // No block is larger than 512 bytes.
        let block = self.sdhci.read(0x04, 2);
        if block & 0xfff > 512 {
            put(&mut self.sdhci.bytes, 0x04, 2, block & 0x7000 | 512);
        }
        // The internal clock is stable as soon as it is enabled.
        let clock = self.sdhci.bytes[0x2c];
        self.sdhci.bytes[0x2c] = clock & !2 | (clock & 1) << 1;
    }

    /// The offset in the controller's registers, if that is what `address` leads to.
    fn in_bar(&self, address: u64) -> Option<usize> {
        let decodes = self.config.read(0x04, 2) & 2 != 0;
        let offset = address.checked_sub(self.config.read(0x10, 4))?;
        (decodes && offset < 256).then_some(offset as usize)
    }

    fn port(&mut self, port: u64, width: usize, write: Option<u64>) -> u64 {
        let selected = self.config_address & 0xff_ff00 == FUNCTION;
        let register = (self.config_address & 0xfc) as usize + (port & 3) as usize;
        match (port, write) {
            (0xcf8, Some(value)) => self.config_address = value as u32,
            (0xcf8, None) => return self.config_address.into(),
            (0xcfc..=0xcff, Some(value)) if selected => self.config.write(register, width, value),
            (0xcfc..=0xcff, None) if selected => return self.config.read(register, width),
            _ => {}
        }
        !0 >> (64 - 8 * width)
    }

    fn memory(&mut self, address: u64, width: usize, write: Option<u64>) -> u64 {
        match (self.in_bar(address), write) {
            (Some(at), Some(value)) => self.sdhci_write(at, width, value),
            (Some(at), None) => return self.sdhci.read(at, width),
            _ => {}
        }
        !0 >> (64 - 8 * width)
    }

    /// Answers one request of the qtest protocol.
    pub fn answer(&mut self, request: &str) -> Answer {
        let words: Vec<&str> = request.split(' ').collect();
        let number = |at: usize| {
            let word = words.get(at)?;
            match word.strip_prefix("0x") {
                Some(digits) => u64::from_str_radix(digits, 16).ok(),
                None => word.parse().ok(),
            }
        };
        let (verb, width) = words[0].split_at(words[0].len().saturating_sub(1));
        let width = ["b", "w", "l", "q"].iter().position(|w| *w == width).map_or(0, |n| 1 << n);
        let address = number(1).unwrap_or(0);
        let mut is_cue = false;
        let text = match (verb, width) {
            ("in", 1..=4) => format!("OK {:#06x}", self.port(address, width, None)),
            ("out", 1..=4) => {
                self.port(address, width, number(2));
                "OK".to_owned()
            }
            ("read", 1..=8) => format!("OK {:#018x}", self.memory(address, width, None)),
            ("write", 1..=8) => {
                is_cue = self.in_bar(address) == Some(CAPABILITIES);
                self.memory(address, width, number(2));
                "OK".to_owned()
            }
            _ => match words[0] {
                "endianness" => "OK little".to_owned(),
                "clock_step" => {
                    self.clock += number(1).unwrap_or(0) as i64;
                    format!("OK {}", self.clock)
                }
                "clock_set" => {
                    self.clock = self.clock.max(address as i64);
                    format!("OK {}", self.clock)
                }
                "irq_intercept_in" | "irq_intercept_out" => "OK".to_owned(),
                other => format!("FAIL Unknown command '{other}'"),
            },
        };
        Answer { text, is_cue }
    }
}
