//! Two SJA1000 on one bus, as PeliCAN and as BasicCAN: frames, the receive FIFO, acceptance,
//! modes and interrupts (NXP data sheet "SJA1000").

use std::rc::Rc;

use crate::qemu::Vm;
use crate::qos::can::{
    ALL, BY_OVERRUN, BY_RECEPTION, BY_TRANSMISSION, CDR, CLEAR_OVERRUN, CMR, CanPair, FIFO, FRAME,
    Frame, IER, IR, LISTEN_ONLY, MOD, OVERRUN, RECEIVED, RELEASE, RESET_MODE, RMC, SELF_RECEPTION,
    SELF_TEST, SENT, SINGLE_FILTER, SR, Sja1000, TIMING, TRANSMIT,
};
use crate::{Result, attacks, tests};

tests!(CanPair, "sja1000-tests":
    frames,
    remote_frames = "remote-frames",
    order,
    wrap,
    overrun,
    message_count = "message-count",
    lengths,
    single_filter = "single-filter",
    dual_filter = "dual-filter",
    reset_mode = "reset-mode",
    listen_only = "listen-only",
    self_reception = "self-reception",
    transmission_interrupt = "transmission-interrupt",
    reception_interrupt = "reception-interrupt",
    overrun_interrupt = "overrun-interrupt",
    machine_reset = "machine-reset",
    timing,
    basic_frames = "basic-frames",
    basic_acceptance = "basic-acceptance",
);
attacks!(CanPair, "sja1000-attacks": frames, wrap, lengths, basic_frames = "basic-frames");

/// Frames of every format and length.
fn kinds() -> Vec<Frame> {
    let mut all: Vec<Frame> =
        (0..=8u8).map(|length| Frame::new(0x2a5, &(1..=length).collect::<Vec<_>>())).collect();
    all.extend([0x000, 0x001, 0x400, 0x7ff].map(|id| Frame::new(id, &[0xa5, 0x5a])));
    all.extend([0, 1, 0x1555_5555, 0x1fff_ffff].map(|id| Frame::new(0, &[7]).extended(id)));
    all
}

/// Whether a message waits.
fn has_message(controller: &Sja1000) -> Result<bool> {
    Ok(controller.get(SR)? & RECEIVED != 0)
}

/// Takes the message that must be this frame.
fn receive(controller: &Sja1000, frame: &Frame) -> Result<()> {
    assert!(has_message(controller)?, "a message of {frame:x?}");
    let expected = frame.bytes();
    let found = controller.take(expected.len())?;
    assert_eq!(found, expected, "the message of {frame:x?}");
    Ok(())
}

/// Would catch a frame with another identifier, format, length or data, one that the sender
/// receives, and a transmission that is not told (6.4.4, 6.4.5, 6.4.13).
fn frames(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    for (from, to) in [(one, two), (two, one)] {
        for frame in kinds() {
            from.send(&frame)?;
            assert_eq!(from.get(SR)? & (SENT | RECEIVED), SENT, "the status after {frame:x?}");
            receive(to, &frame)?;
            assert!(!has_message(to)?, "a second message of {frame:x?}");
        }
    }
    Ok(())
}

/// Would catch a frame that asks for data and has some, or takes the room of some in the FIFO
/// (6.4.13.2).
fn remote_frames(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    for length in [0, 3, 8] {
        let remote = Frame { is_remote: true, length, ..Frame::new(0x123, &[]) };
        for frame in [remote.clone(), Frame::new(0x10, &[1]), remote.extended(0x0abc_def1)] {
            one.send(&frame)?;
            receive(two, &frame)?;
        }
    }
    Ok(())
}

/// Would catch messages that come in another order, and a release that takes more than one.
fn order(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    let all = [Frame::new(1, &[1, 2, 3]), Frame::new(2, &[]).extended(2), Frame::new(3, &[4; 8])];
    all.iter().try_for_each(|frame| one.send(frame))?;
    let first = all[0].bytes();
    assert_eq!(two.read(FRAME, first.len())?, first, "the first message, which stays");
    all.iter().try_for_each(|frame| receive(two, frame))?;
    two.set(CMR, RELEASE)?;
    assert!(!has_message(two)?, "a message after all were released");
    one.send(&all[2])?;
    receive(two, &all[2])
}

/// Would catch a message that is wrong where the FIFO wraps (6.4.13).
fn wrap(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    for number in 0..60u8 {
        let data: Vec<u8> = (0..number % 9).map(|at| number ^ at).collect();
        let frame = Frame::new(u32::from(number), &data);
        let frame =
            if number % 3 == 0 { frame.extended(0x1000 + u32::from(number)) } else { frame };
        one.send(&frame)?;
        receive(two, &frame)?;
    }
    Ok(())
}

/// Would catch a FIFO that has more or less room than 64 bytes, changes messages that are in it
/// when one is lost, or does not say that one was (6.4.5, 6.4.13).
fn overrun(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    let frame = |number: u8| Frame::new(u32::from(number), &[number; 7]);
    let each = frame(0).bytes().len();
    let most = (FIFO / each) as u8;
    for number in 0..most {
        one.send(&frame(number))?;
        assert_eq!(two.get(SR)? & OVERRUN, 0, "an overrun after {} messages", number + 1);
    }
    one.send(&frame(0x55))?;
    assert_eq!(two.get(SR)? & OVERRUN, OVERRUN, "the message that is lost");
    (0..most).try_for_each(|number| receive(two, &frame(number)))?;
    assert!(!has_message(two)?, "the message that was lost");
    assert_eq!(two.get(SR)? & OVERRUN, OVERRUN, "until it is cleared");
    two.set(CMR, CLEAR_OVERRUN)?;
    assert_eq!(two.get(SR)? & OVERRUN, 0, "cleared");
    one.send(&frame(9))?;
    receive(two, &frame(9))
}

/// Would catch a number of messages that is not that of those in the FIFO (6.4.19).
fn message_count(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    for count in 0..4 {
        assert_eq!(two.get(RMC)?, count, "messages");
        one.send(&Frame::new(count.into(), &[count]))?;
    }
    two.set(CMR, RELEASE)?;
    assert_eq!(two.get(RMC)?, 3, "messages after one was released");
    Ok(())
}

/// Would catch a data length code above 8 for which more than eight bytes are sent (6.4.13.2).
fn lengths(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    for length in [9, 12, 15] {
        let frame = Frame { length, ..Frame::new(0x321, &[1, 2, 3, 4, 5, 6, 7, 8]) };
        one.send(&frame)?;
        assert!(has_message(two)?, "a message with the length code {length}");
        let found = two.take(11)?;
        assert!(matches!(found[0] & 0x0f, 8..), "the length code of {found:02x?}");
        assert_eq!(found[1..], frame.bytes()[1..], "the message with the length code {length}");
        assert!(!has_message(two)?, "what is left of the message with the length code {length}");
    }
    let after = Frame::new(0x77, &[1]);
    one.send(&after)?;
    receive(two, &after)
}

/// Sends frames with these identifiers from `one`, and looks which of them `two` receives.
fn passing([one, two]: &[Sja1000; 2], ids: &[(u32, bool)]) -> Result<()> {
    for (id, passes) in ids {
        one.send(&Frame::new(*id, &[1]))?;
        assert_eq!(has_message(two)?, *passes, "a message of {id:#x}");
        two.set(CMR, RELEASE)?;
    }
    Ok(())
}

/// Would catch a frame that is received although one filter does not let it through, or the other
/// way round (6.4.15.1).
fn single_filter(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let both = pair.start(vm)?;
    // Identifiers 0x120 to 0x127; the rest of the mask is open.
    both[1].start(SINGLE_FILTER, [0x24, 0x00, 0, 0, 0x00, 0xff, 0xff, 0xff])?;
    let ids = [(0x120, true), (0x127, true), (0x128, false), (0x11f, false), (0x520, false)];
    passing(both, &ids)
}

/// Would catch a frame that is received although neither of two filters lets it through, or the
/// other way round (6.4.15.2).
fn dual_filter(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let both = pair.start(vm)?;
    // Identifiers 0x7f8 to 0x7ff, and those below 8.
    both[1].start(0, [0xff, 0x00, 0x00, 0x00, 0x00, 0xff, 0x00, 0xff])?;
    let ids = [(0x7f8, true), (0x7ff, true), (0x000, true), (0x007, true), (0x008, false)];
    passing(both, &ids)
}

/// Would catch a controller in reset mode that receives or sends, and messages that are still
/// there after it (6.4.3).
fn reset_mode(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    one.send(&Frame::new(1, &[1]))?;
    two.set(MOD, RESET_MODE)?;
    one.send(&Frame::new(2, &[2]))?;
    two.set(CMR, TRANSMIT)?;
    two.set(MOD, 0)?;
    assert!(!has_message(one)?, "a message of a controller in reset mode");
    assert!(!has_message(two)?, "a message from before, or to, a controller in reset mode");
    one.send(&Frame::new(3, &[3]))?;
    receive(two, &Frame::new(3, &[3]))
}

/// Would catch a controller that only listens and sends (6.4.3).
fn listen_only(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    one.start(LISTEN_ONLY, ALL)?;
    two.send(&Frame::new(5, &[5]))?;
    receive(one, &Frame::new(5, &[5]))?;
    one.send(&Frame::new(6, &[6]))?;
    assert!(!has_message(two)?, "a message of a controller that only listens");
    Ok(())
}

/// Would catch a frame that its sender is to receive and does not, or the other one does not
/// (6.4.4).
fn self_reception(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    one.start(SELF_TEST, ALL)?;
    let frame = Frame::new(0x321, &[9, 8]);
    one.write(FRAME, &frame.bytes())?;
    one.set(CMR, SELF_RECEPTION)?;
    receive(one, &frame)?;
    receive(two, &frame)
}

/// What INTA# of the card is.
fn asserted(pair: &CanPair, expected: bool, when: &str) -> Result<()> {
    assert_eq!(pair.device.asserts_interrupt()?, expected, "INTA# {when}");
    Ok(())
}

/// Would catch an interrupt of a transmission that does not come, comes although it is not
/// enabled, or stays when it was read (6.4.6, 6.4.7).
fn transmission_interrupt(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    let frame = Frame::new(0x44, &[4]);
    for controller in [one, two] {
        controller.send(&frame)?;
        asserted(pair, false, "with nothing enabled")?;
        controller.get(IR)?;
        controller.set(IER, BY_TRANSMISSION)?;
        controller.send(&frame)?;
        asserted(pair, true, "with a transmission")?;
        assert_eq!(controller.get(IR)? & BY_TRANSMISSION, BY_TRANSMISSION, "IR");
        asserted(pair, false, "when that was read")?;
        controller.set(IER, 0)?;
    }
    Ok(())
}

/// Would catch an interrupt of reception that does not come, goes with what the other controller
/// of the card does, or when it is read although a message is there (6.4.6, 6.4.7).
fn reception_interrupt(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    two.set(IER, BY_RECEPTION)?;
    one.send(&Frame::new(0x44, &[4]))?;
    asserted(pair, true, "with a message")?;
    for _ in 0..2 {
        assert_eq!(two.get(IR)? & BY_RECEPTION, BY_RECEPTION, "the interrupt of a message");
        asserted(pair, true, "as long as the message is there")?;
    }
    two.set(CMR, RELEASE)?;
    assert_eq!(two.get(IR)? & BY_RECEPTION, 0, "no message is there");
    asserted(pair, false, "when the message is released")
}

/// Would catch an interrupt of an overrun that does not come, or stays when it was read (6.4.6).
fn overrun_interrupt(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.start(vm)?;
    two.set(IER, BY_OVERRUN)?;
    for _ in 0..6 {
        one.send(&Frame::new(0x45, &[4; 8]))?;
    }
    asserted(pair, true, "with an overrun")?;
    assert_eq!(two.get(IR)? & BY_OVERRUN, BY_OVERRUN, "the interrupt of an overrun");
    asserted(pair, false, "when that was read")
}

/// Would catch a reset of the machine after which messages are elsewhere than they are read.
fn machine_reset(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, _] = pair.start(vm)?;
    one.send(&Frame::new(0x11, &[1, 2]))?;
    crate::qos::reset(vm)?;
    let plug = pair.again()?;
    let [one, two] = plug.start(vm)?;
    assert!(!has_message(two)?, "a message from before the reset");
    one.send(&Frame::new(0x22, &[3]))?;
    receive(two, &Frame::new(0x22, &[3]))
}

/// Would catch timing or output control that is not kept, or that can be written while the
/// controller takes part in the traffic (6.5.1 to 6.5.3).
fn timing(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, _] = pair.start(vm)?;
    one.set(MOD, RESET_MODE)?;
    one.write(TIMING[0], &[0x43, 0x1c, 0x1a])?;
    one.set(MOD, 0)?;
    one.write(TIMING[0], &[0xff, 0xff, 0xff])?;
    assert_eq!(one.read(TIMING[0], 3)?, [0x43, 0x1c, 0x1a], "bus timing and output control");
    Ok(())
}

/// Where a BasicCAN controller has what it sends, and what it receives (6.3.6, 6.3.7).
const BASIC_TRANSMIT: u64 = 10;
const BASIC_RECEIVE: u64 = 20;

/// Makes a controller take part as BasicCAN, with this acceptance code and mask.
fn start_basic(controller: &Sja1000, code: u8, mask: u8) -> Result<()> {
    controller.set(MOD, RESET_MODE)?;
    controller.set(CDR, 0)?;
    controller.set(MOD, RESET_MODE)?;
    controller.write(4, &[code, mask])?;
    controller.set(MOD, 0)
}

/// Sends a frame from a BasicCAN controller, and returns its bytes.
fn send_basic(controller: &Sja1000, id: u16, data: &[u8]) -> Result<Vec<u8>> {
    let bytes = [&[(id >> 3) as u8, (id << 5) as u8 | data.len() as u8], data].concat();
    controller.write(BASIC_TRANSMIT, &bytes)?;
    controller.set(CMR, TRANSMIT)?;
    Ok(bytes)
}

/// Would catch a frame of BasicCAN with another identifier, length or data (6.3.6, 6.3.7).
fn basic_frames(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.bare(vm);
    start_basic(one, 0, 0xff)?;
    start_basic(two, 0, 0xff)?;
    for length in 0..=8u8 {
        for id in [0x000, 0x2a5, 0x555, 0x7ff] {
            let data: Vec<u8> = (0..length).map(|at| 0x80 | at).collect();
            let bytes = send_basic(one, id, &data)?;
            assert_eq!(one.get(SR)? & SENT, SENT, "the status of the sender");
            assert!(has_message(two)?, "a message of {id:#x}, {length} bytes");
            assert_eq!(two.read(BASIC_RECEIVE, bytes.len())?, bytes, "{id:#x}, {length} bytes");
            two.set(CMR, RELEASE)?;
            assert!(!has_message(two)?, "a second message of {id:#x}, {length} bytes");
        }
    }
    Ok(())
}

/// Would catch a frame that is received although the code and mask do not let it through, or the
/// other way round (6.3.8).
fn basic_acceptance(pair: &CanPair, vm: &Rc<Vm>) -> Result<()> {
    let [one, two] = pair.bare(vm);
    start_basic(one, 0, 0xff)?;
    start_basic(two, 0x72, 0x38)?;
    for (upper, passes) in
        [(0x72u16, true), (0x4a, true), (0x7a, true), (0x73, false), (0x32, false)]
    {
        send_basic(one, upper << 3 | 5, &[1])?;
        assert_eq!(has_message(two)?, passes, "a message whose identifier begins with {upper:#x}");
        two.set(CMR, RELEASE)?;
    }
    Ok(())
}
