//! The options that name a vhost-user back end of the user's, one for each kind of device that
//! QEMU has a front end for.

use clap::Args;

use super::Stop;
use crate::qemu::UserBackend;

/// Back ends of the user's.
#[derive(Args)]
pub(super) struct BackendArguments {
    /// Serve vhost-user-blk devices by this: a command with {socket} where the path of its socket
    /// belongs, started for each QEMU, or a socket on which it listens. {image} is the file that
    /// the suites of disks look into. Only paths through these devices run then. The other kinds
    /// take the same, without an image.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_blk: Option<String>,
    /// Serve vhost-user-fs devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_fs: Option<String>,
    /// Serve vhost-user-gpio devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_gpio: Option<String>,
    /// Serve vhost-user-i2c devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_i2c: Option<String>,
    /// Serve vhost-user-rng devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_rng: Option<String>,
    /// Serve vhost-user-scmi devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_scmi: Option<String>,
    /// Serve vhost-user-scsi devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_scsi: Option<String>,
    /// Serve vhost-user-vsock devices by this.
    #[arg(long, value_name = "BACKEND", help_heading = "Back ends")]
    vhost_user_vsock: Option<String>,
}

impl BackendArguments {
    /// All options.
    fn all(&self) -> [(&'static str, Option<&String>); 8] {
        [
            ("vhost-user-blk", self.vhost_user_blk.as_ref()),
            ("vhost-user-fs", self.vhost_user_fs.as_ref()),
            ("vhost-user-gpio", self.vhost_user_gpio.as_ref()),
            ("vhost-user-i2c", self.vhost_user_i2c.as_ref()),
            ("vhost-user-rng", self.vhost_user_rng.as_ref()),
            ("vhost-user-scmi", self.vhost_user_scmi.as_ref()),
            ("vhost-user-scsi", self.vhost_user_scsi.as_ref()),
            ("vhost-user-vsock", self.vhost_user_vsock.as_ref()),
        ]
    }

    /// Whether any is named.
    pub fn are_given(&self) -> bool {
        self.all().iter().any(|(_, text)| text.is_some())
    }

    /// Those that are named.
    ///
    /// # Errors
    /// One is none, or cannot be run.
    pub fn backends(&self) -> Result<Vec<UserBackend>, Stop> {
        let named = self.all().into_iter().filter_map(|(device, text)| Some((device, text?)));
        let parse = |(device, text): (&'static str, &String)| {
            let parsed = UserBackend::parse(device, text);
            parsed.map_err(|e| Stop::Usage(format!("--{device}: {e}")))
        };
        named.map(parse).collect()
    }
}
