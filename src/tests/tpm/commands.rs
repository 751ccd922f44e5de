//! Every TPM: a command reaches the back end byte for byte, and so does its response the guest, in
//! all sizes; what comes of commands while one is carried out, of cancelling, of resets, and of a
//! back end that misbehaves.

use std::rc::Rc;

use crate::graph::QemuArgs;
use crate::qemu::Vm;
use crate::qos::tpm::{
    BUFFER, CANCELED, FAILURE, HEADER, Manner, Tpm, TpmBackend, command, header, response,
};
use crate::qos::{reset as reset_machine, settle, wait_until};
use crate::{Result, tests};

tests!(dyn Tpm, "tpm-tests":
    command_sizes = "command-sizes",
    response_sizes = "response-sizes",
    not_begun = "not-begun",
    busy,
    cancel,
    cancel_idle = "cancel-idle",
    reset,
    reset_half = "reset-half",
);

tests!(dyn Tpm, "tpm-back-end-tests":
    closes,
    closes_short = "closes-short",
    too_short = "too-short",
    too_long = "too-long";
    with QemuArgs::NONE.after("-name broken"));

/// The back end, which answers.
fn back_end(tpm: &dyn Tpm) -> Result<&TpmBackend> {
    let back_end = TpmBackend::of(tpm.vm())?;
    back_end.set_manner(Manner::Answers);
    Ok(back_end)
}

fn await_response(tpm: &dyn Tpm) -> Result<Vec<u8>> {
    wait_until(tpm.vm(), "a response of the TPM", || tpm.is_done())?;
    match tpm.has_failed()? {
        true => Ok(header(HEADER as u32, FAILURE)),
        false => tpm.take(),
    }
}

/// Has a command carried out whose response has `answer` bytes, and compares both.
fn round(tpm: &dyn Tpm, length: usize, answer: usize) -> Result<()> {
    let back_end = TpmBackend::of(tpm.vm())?;
    back_end.take_commands();
    let sent = command(length, answer);
    tpm.prepare()?;
    tpm.hand_in(&sent)?;
    tpm.go()?;
    let found = await_response(tpm)?;
    let commands = back_end.take_commands();
    assert_eq!(commands.len(), 1, "commands at the back end, of {length} bytes");
    assert!(commands[0] == sent, "{length} bytes came as {:02x?}", head(&commands[0]));
    assert_eq!(found.len(), answer, "the response to {length} bytes: {:02x?}", head(&found));
    assert!(found == response(&sent), "{answer} bytes of response: {:02x?}", head(&found));
    assert_eq!(back_end.faults(), [""; 0], "what the back end objects to");
    Ok(())
}

fn head(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(16)]
}

/// Lengths at which something may change, up to `most`.
fn lengths(most: usize) -> Vec<usize> {
    let all = [10, 11, 12, 13, 14, 63, 64, 65, 255, 256, 257, 1023, 1024, 1025, most - 1, most];
    all.to_vec()
}

/// Would catch a command that is cut, has bytes that are not its own, or comes twice.
fn command_sizes(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    back_end(tpm)?;
    for length in lengths(tpm.largest()?) {
        round(tpm, length, 16)?;
    }
    Ok(())
}

/// Would catch a response that is cut, has bytes of one before, or is that of another command.
fn response_sizes(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    back_end(tpm)?;
    for length in lengths(tpm.largest()?) {
        round(tpm, 14, length)?;
    }
    round(tpm, 12, HEADER)
}

/// Would catch a command that is carried out before it is told to be.
fn not_begun(tpm: &dyn Tpm, vm: &Rc<Vm>) -> Result<()> {
    let back_end = back_end(tpm)?;
    tpm.prepare()?;
    tpm.hand_in(&command(20, 20))?;
    settle(vm)?;
    assert_eq!(back_end.waiting(), 0, "commands before one is begun");
    tpm.go()?;
    assert!(await_response(tpm)? == response(&command(20, 20)), "the response");
    assert_eq!(back_end.take_commands().len(), 1, "commands after one was begun");
    Ok(())
}

/// Hands a command in that the back end holds.
fn hold<'a>(tpm: &'a dyn Tpm, sent: &[u8]) -> Result<&'a TpmBackend> {
    let back_end = back_end(tpm)?;
    back_end.set_manner(Manner::Holds);
    tpm.prepare()?;
    tpm.hand_in(sent)?;
    tpm.go()?;
    wait_until(tpm.vm(), "a command at the back end", || Ok(back_end.waiting() == 1))?;
    Ok(back_end)
}

/// Would catch a command that is done before its response has come, a second one that is begun
/// meanwhile, or a machine that does not run meanwhile.
fn busy(tpm: &dyn Tpm, vm: &Rc<Vm>) -> Result<()> {
    let sent = command(40, 300);
    let back_end = hold(tpm, &sent)?;
    settle(vm)?;
    assert!(!tpm.is_done()?, "done without a response");
    tpm.go()?;
    settle(vm)?;
    assert!(!tpm.is_done()?, "done when it is begun again");
    assert_eq!(back_end.waiting(), 1, "commands at the back end");
    back_end.release();
    assert!(await_response(tpm)? == response(&sent), "the response");
    back_end.set_manner(Manner::Answers);
    round(tpm, 30, 30)
}

/// Would catch a cancel that does not come to the back end, or a command that does not end by it.
fn cancel(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    let back_end = hold(tpm, &command(40, 300))?;
    let before = back_end.cancels();
    tpm.cancel()?;
    let found = await_response(tpm)?;
    assert_eq!(found, header(HEADER as u32, CANCELED), "the response of a cancelled command");
    assert_eq!(back_end.cancels(), before + 1, "cancels at the back end");
    back_end.set_manner(Manner::Answers);
    round(tpm, 30, 30)
}

/// Would catch a cancel that comes to the back end although nothing is carried out.
fn cancel_idle(tpm: &dyn Tpm, vm: &Rc<Vm>) -> Result<()> {
    let back_end = back_end(tpm)?;
    let before = back_end.cancels();
    tpm.prepare()?;
    tpm.cancel()?;
    settle(vm)?;
    assert_eq!(back_end.cancels(), before, "cancels at the back end");
    round(tpm, 30, 30)
}

/// Would catch a reset of the machine that does not start the TPM anew, or after which it takes no
/// command.
fn reset(tpm: &dyn Tpm, vm: &Rc<Vm>) -> Result<()> {
    let back_end = back_end(tpm)?;
    round(tpm, 20, 20)?;
    let before = back_end.inits();
    reset_machine(vm)?;
    assert_eq!(back_end.inits(), before + 1, "starts of the TPM by a reset");
    round(tpm, 21, 21)
}

/// Would catch bytes of a command that was not begun and that outlive a reset.
fn reset_half(tpm: &dyn Tpm, vm: &Rc<Vm>) -> Result<()> {
    let back_end = back_end(tpm)?;
    tpm.prepare()?;
    tpm.hand_in(&command(200, 20))?;
    reset_machine(vm)?;
    tpm.go()?;
    settle(vm)?;
    assert_eq!(back_end.waiting(), 0, "commands after a reset");
    round(tpm, 22, 22)
}

/// A command at a back end that then misbehaves: QEMU lives, and the command ends. The machine is
/// of no use afterwards.
fn misbehaves(tpm: &dyn Tpm, manner: Manner) -> Result<Vec<u8>> {
    tpm.vm().note_lasting("a back end that has misbehaved");
    let back_end = TpmBackend::of(tpm.vm())?;
    back_end.set_manner(manner);
    tpm.prepare()?;
    tpm.hand_in(&command(20, 20))?;
    tpm.go()?;
    let found = await_response(tpm);
    settle(tpm.vm())?;
    found
}

/// Sees that a response is an error: a header alone, with a code that is not success.
#[track_caller]
fn assert_error(found: &[u8]) {
    assert_eq!(found.len(), HEADER, "the length of {:02x?}", head(found));
    assert_ne!(found[6..10], [0; 4], "the code of {found:02x?}");
}

/// Would catch a back end that goes away and takes QEMU with it, or a command that never ends.
fn closes(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    assert_error(&misbehaves(tpm, Manner::Closes)?);
    // The next one ends as well.
    tpm.prepare()?;
    tpm.hand_in(&command(20, 20))?;
    tpm.go()?;
    assert_error(&await_response(tpm)?);
    Ok(())
}

/// Would catch the begin of a response that is taken for one.
fn closes_short(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    assert_error(&misbehaves(tpm, Manner::ShortThenCloses)?);
    Ok(())
}

/// Would catch a response that says to be shorter than its header, and that QEMU reads on for.
fn too_short(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    assert_error(&misbehaves(tpm, Manner::Says(4))?);
    Ok(())
}

/// Would catch a response that is longer than the buffer, and that QEMU writes behind that.
fn too_long(tpm: &dyn Tpm, _: &Rc<Vm>) -> Result<()> {
    assert_error(&misbehaves(tpm, Manner::Says(16 * BUFFER))?);
    Ok(())
}
