//! The machine of the S/390 emulator, as far as guests need it: how it starts images. Its devices
//! are on channels, for which there is no driver.

use crate::boots;
use crate::graph::Boots;
use crate::guests::Way;

boots!(
    ["s390x/s390-ccw-virtio"],
    Boots {
        way: Way::Kernel,
        console: &["-chardev", "stdio,id=con0", "-device", "sclpconsole,chardev=con0"],
    }
);
