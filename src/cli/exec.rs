//! `qgraph exec`: any command line of QEMU, with the accelerator in place, so that other
//! people's scripts run as they are.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use super::{Stop, warn};
use crate::qemu::{Prober, binary};

#[derive(clap::Args)]
#[command(after_help = "\
qgraph becomes QEMU: input, output, signals and exit status are QEMU's own. Nothing is added to \
its arguments; `-accel qtest` works although the distribution left the accelerator out.

Example: cat requests | qgraph exec -- qemu-system-x86_64 -M q35 -accel qtest -qtest stdio \
-display none")]
pub(super) struct Arguments {
    /// The emulator, a file or a name that is looked up like a shell does, and its arguments.
    #[arg(value_names = ["QEMU", "ARGS"], required = true, trailing_var_arg = true,
          allow_hyphen_values = true)]
    command: Vec<OsString>,
}

pub(super) fn main(arguments: &Arguments) -> Result<ExitCode, Stop> {
    let Some((program, words)) = arguments.command.split_first() else {
        return Err(Stop::Usage("say which QEMU is to be run".to_owned()));
    };
    let named = [PathBuf::from(program)];
    let path = binary::find(&named).binaries.into_iter().next();
    let path = path.unwrap_or_else(|| program.into());
    let probed = Prober::new().probe(&path, warn);
    let emulator = probed.map_err(|unusable| Stop::Usage(unusable.to_string()))?;
    let mut command = Command::new(&path);
    command.args(words);
    if let Some(folder) = emulator.module_dir() {
        command.env("QEMU_MODULE_DIR", folder);
    }
    // It returns only if that fails.
    let error = command.exec();
    Err(Stop::Usage(format!("cannot run {}: {error}", path.display())))
}
