//! SCRIPTS, instruction by instruction (LSI53C895A technical manual, chapter 5).

/// A phase of the bus, by its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Data to the target.
    DataOut = 0,
    /// Data from the target.
    DataIn = 1,
    /// A command.
    Command = 2,
    /// A status.
    Status = 3,
    /// A message to the target.
    MessageOut = 6,
    /// A message from the target.
    MessageIn = 7,
}

/// A script that is being written, for one address in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    base: u32,
    words: Vec<u32>,
}

impl Script {
    /// An empty script for this address.
    pub fn new(base: u32) -> Self {
        Self { base, words: Vec::new() }
    }

    /// Its length in bytes.
    pub fn len(&self) -> usize {
        4 * self.words.len()
    }

    /// Whether it has no instruction.
    pub fn is_empty(&self) -> bool {
        self.words.is_empty()
    }

    /// The address of the next instruction.
    pub fn next(&self) -> u32 {
        self.base + self.len() as u32
    }

    /// Its bytes, which are little-endian everywhere.
    pub fn bytes(&self) -> Vec<u8> {
        self.words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    /// An instruction of two words.
    pub fn put(&mut self, first: u32, second: u32) {
        self.words.extend([first, second]);
    }

    /// SELECT with ATN (5.4): arbitrates for the bus and selects a target.
    pub fn select(&mut self, target: u8) {
        let next = self.next() + 8;
        self.put(0x4100_0000 | u32::from(target) << 16, next);
    }

    /// MOVE WHEN (5.3): moves bytes in this phase, which is waited for.
    pub fn transfer(&mut self, phase: Phase, length: u32, address: u32) {
        self.put(0x0800_0000 | (phase as u32) << 24 | length, address);
    }

    /// JUMP (5.6).
    pub fn jump(&mut self, address: u32) {
        self.put(0x8008_0000, address);
    }

    /// JUMP WHEN the bus is in this phase, which is waited for.
    pub fn jump_when(&mut self, phase: Phase, address: u32) {
        self.put(0x800b_0000 | (phase as u32) << 24, address);
    }

    /// JUMP IF the first byte that was received last is this one.
    pub fn jump_if(&mut self, byte: u8, address: u32) {
        self.put(0x800c_0000 | u32::from(byte), address);
    }

    /// INT (5.6): stops, and interrupts with a number.
    pub fn int(&mut self, number: u32) {
        self.put(0x9808_0000, number);
    }

    /// NOP.
    pub fn no_operation(&mut self) {
        self.put(0x8000_0000, 0);
    }

    /// CLEAR ACK (5.4): the target may go on.
    pub fn clear_acknowledge(&mut self) {
        self.put(0x6000_0040, 0);
    }

    /// Clears bit 7 of SCNTL2 (5.5): a disconnection that comes is no error.
    pub fn expect_disconnect(&mut self) {
        self.put(0x7c02_7f00, 0);
    }

    /// WAIT DISCONNECT (5.4).
    pub fn wait_disconnect(&mut self) {
        self.put(0x4800_0000, 0);
    }

    /// WAIT RESELECT (5.4), or a jump if the host signals.
    pub fn wait_reselect(&mut self, signalled: u32) {
        self.put(0x5000_0000, signalled);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch an instruction with a field in other bits than the manual says, and a script
    /// whose addresses are off.
    #[test]
    fn instructions_are_encoded_as_the_manual_says() {
        let mut script = Script::new(0x1000);
        assert!(script.is_empty());
        script.select(5);
        script.transfer(Phase::Command, 10, 0x2000);
        script.jump_when(Phase::Status, 0x3000);
        assert_eq!(script.next(), 0x1018);
        let expected: Vec<u8> = [0x4105_0000u32, 0x1008, 0x0a00_000a, 0x2000, 0x830b_0000, 0x3000]
            .into_iter()
            .flat_map(u32::to_le_bytes)
            .collect();
        assert_eq!(script.bytes(), expected);
    }
}
