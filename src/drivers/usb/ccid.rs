//! QEMU's `usb-ccid`: a reader of smart cards with one slot (Device Class: Smart Card CCID 1.1, whose
//! sections are cited). The variant `card` has a card in it that the harness plays, by the protocol of
//! libcacard ("vscard_common.h").

use std::cell::Cell;
use std::rc::Rc;

use crate::graph::{Addition, Consumes, QemuArgs, Site, Variant};
use crate::qemu::Vm;
use crate::qos::uart::{LINE, Line};
use crate::qos::usb::device::UsbDevice;
use crate::qos::usb::function::Function;
use crate::qos::usb::{Completion, Endpoint, FullSpeed, Speed};
use crate::{Error, Result, driver};

/// Messages to the reader (6.1).
pub mod message {
    /// PC_to_RDR_SetParameters.
    pub const SET_PARAMETERS: u8 = 0x61;
    /// PC_to_RDR_IccPowerOn.
    pub const POWER_ON: u8 = 0x62;
    /// PC_to_RDR_IccPowerOff.
    pub const POWER_OFF: u8 = 0x63;
    /// PC_to_RDR_GetSlotStatus.
    pub const SLOT_STATUS: u8 = 0x65;
    /// PC_to_RDR_Escape.
    pub const ESCAPE: u8 = 0x6b;
    /// PC_to_RDR_GetParameters.
    pub const GET_PARAMETERS: u8 = 0x6c;
    /// PC_to_RDR_ResetParameters.
    pub const RESET_PARAMETERS: u8 = 0x6d;
    /// PC_to_RDR_XfrBlock.
    pub const TRANSFER: u8 = 0x6f;
    /// PC_to_RDR_Mechanical.
    pub const MECHANICAL: u8 = 0x71;
    /// PC_to_RDR_Abort.
    pub const ABORT: u8 = 0x72;
}

/// Messages from the reader (6.2).
pub mod answer {
    /// RDR_to_PC_DataBlock.
    pub const DATA: u8 = 0x80;
    /// RDR_to_PC_SlotStatus.
    pub const SLOT_STATUS: u8 = 0x81;
    /// RDR_to_PC_Parameters.
    pub const PARAMETERS: u8 = 0x82;
}

/// bStatus: a card that is powered, one that is not, none (6.2.6).
pub const ACTIVE: u8 = 0;
/// bStatus: a card without power.
pub const INACTIVE: u8 = 1;
/// bStatus: no card.
pub const ABSENT: u8 = 2;
/// bStatus: the command has failed.
pub const FAILED: u8 = 1 << 6;
/// bError: no card answers.
pub const MUTE: u8 = 0xfe;

/// Messages of libcacard's protocol.
pub mod card {
    /// VSC_Init.
    pub const INIT: u32 = 1;
    /// VSC_Error, which carries the result of a message, success included.
    pub const RESULT: u32 = 2;
    /// VSC_ReaderAdd.
    pub const ADD: u32 = 3;
    /// VSC_ATR.
    pub const ATR: u32 = 5;
    /// VSC_CardRemove.
    pub const REMOVE: u32 = 6;
    /// VSC_APDU.
    pub const APDU: u32 = 7;
}

/// A reader.
pub struct UsbCcid {
    vm: Rc<Vm>,
    /// The device.
    pub function: Function,
}

/// A message from the reader: its type, slot, sequence number, status, error, third byte and data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// bMessageType.
    pub kind: u8,
    /// bSlot.
    pub slot: u8,
    /// bSeq.
    pub sequence: u8,
    /// bStatus.
    pub status: u8,
    /// bError.
    pub error: u8,
    /// What is behind them: the state of the clock, the chain, the protocol.
    pub last: u8,
    /// abData.
    pub data: Vec<u8>,
}

/// A reader that is configured.
pub struct Reader<'a> {
    /// The device.
    pub usb: UsbDevice<'a>,
    /// Its endpoint that notifies.
    pub interrupt: Endpoint,
    /// Its endpoint that sends to the host.
    pub input: Endpoint,
    /// Its endpoint that receives.
    pub output: Endpoint,
    sequence: Cell<u8>,
}

impl UsbCcid {
    /// Starts the controller and configures the device.
    ///
    /// # Errors
    /// It is not there, refuses, or has other endpoints.
    pub fn start(&self) -> Result<Reader<'_>> {
        let usb = self.function.connect()?;
        let [interrupt, input, output] = usb.configure()?[..] else {
            return Err(Error::failed("a reader has three endpoints"));
        };
        Ok(Reader { usb, interrupt, input, output, sequence: Cell::new(0) })
    }

    /// The card, of the variant that has one.
    ///
    /// # Errors
    /// QEMU does not answer, or there is none.
    pub fn card(&self) -> Result<Card> {
        Ok(Card(Line::of(&self.vm, "/machine/peripheral/card")?))
    }
}

/// The harness as a card.
pub struct Card(Line);

impl Card {
    /// Sends a message.
    ///
    /// # Errors
    /// QEMU does not take it.
    pub fn send(&self, kind: u32, data: &[u8]) -> Result<()> {
        let head = [kind, 0, data.len() as u32].map(u32::to_be_bytes).concat();
        self.0.send_through(&[&head[..], data].concat())
    }

    /// The next message: its type, and its data.
    ///
    /// # Errors
    /// None comes.
    pub fn receive(&self, what: &str) -> Result<(u32, Vec<u8>)> {
        let head = self.0.receive(12, what)?;
        let word = |at: usize| u32::from_be_bytes([0, 1, 2, 3].map(|byte| head[at + byte]));
        Ok((word(0), self.0.receive(word(8) as usize, what)?))
    }
}

impl Reader<'_> {
    /// Sends bytes as they are.
    ///
    /// # Errors
    /// The transfer does not end.
    pub fn send(&self, bytes: &[u8]) -> Result<Completion> {
        let memory = self.usb.hcd.vm().ram().alloc(bytes.len().max(1), 64)?;
        memory.write(0, bytes)?;
        self.usb.transfer(self.output, &memory, (0, bytes.len()), "a message to the reader")
    }

    /// Sends a message for a slot; returns its sequence number.
    ///
    /// # Errors
    /// The reader refuses it.
    pub fn tell(&self, kind: u8, slot: u8, parameter: [u8; 3], data: &[u8]) -> Result<u8> {
        let sequence = self.sequence.get();
        self.sequence.set(sequence.wrapping_add(1));
        let [a, b, c, d] = (data.len() as u32).to_le_bytes();
        let mut bytes = vec![kind, a, b, c, d, slot, sequence];
        bytes.extend(parameter);
        bytes.extend(data);
        self.send(&bytes)?.done("a message to the reader")?;
        Ok(sequence)
    }

    /// The next message from the reader.
    ///
    /// # Errors
    /// None comes, or it is longer or shorter than it says.
    pub fn hear(&self) -> Result<Message> {
        const ROOM: usize = 1024;
        let what = "a message from the reader";
        let memory = self.usb.hcd.vm().ram().alloc(ROOM, 64)?;
        let moved = self.usb.transfer(self.input, &memory, (0, ROOM), what)?.done(what)?;
        let mut bytes = memory.to_vec()?;
        bytes.truncate(moved);
        match bytes[..] {
            [kind, a, b, c, d, slot, sequence, status, error, last, ref data @ ..]
                if data.len() == u32::from_le_bytes([a, b, c, d]) as usize =>
            {
                let data = data.to_vec();
                Ok(Message { kind, slot, sequence, status, error, last, data })
            }
            _ => Err(Error::failed(format!("{what} is {bytes:02x?}"))),
        }
    }

    /// Sends a message and receives the answer, which must be for the same slot and number.
    ///
    /// # Errors
    /// None comes, or another.
    pub fn ask(&self, kind: u8, slot: u8, parameter: [u8; 3], data: &[u8]) -> Result<Message> {
        let sequence = self.tell(kind, slot, parameter, data)?;
        let answer = self.hear()?;
        match (answer.slot, answer.sequence) == (slot, sequence) {
            true => Ok(answer),
            false => Err(Error::failed(format!(
                "message {kind:#x} number {sequence} for slot {slot}: the answer is {answer:02x?}"
            ))),
        }
    }
}

impl Consumes<FullSpeed> for UsbCcid {
    const ARGS: QemuArgs = QemuArgs::device("bus={bus},port={addr},id=function")
        .sockets(&[LINE])
        .may_refuse(&["'ccid-card-passthru' is not a valid device model name"]);
    const VARIANTS: &'static [Variant] = &[Variant {
        name: "card",
        add: Addition::NONE
            .before("-chardev socket,id=line0,fd={line0}")
            .after("-device ccid-card-passthru,id=card,chardev=line0"),
    }];

    fn attach(ports: Rc<FullSpeed>, site: &Site) -> Result<Self> {
        let function = Function::new(ports.0.clone(), &[Speed::Full]);
        Ok(Self { vm: site.vm.clone(), function })
    }
}

driver!(UsbCcid = "usb-ccid"; consumes FullSpeed);
