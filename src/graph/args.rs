//! What an edge of the graph adds to QEMU's command line.

use super::node::Plug;
use crate::qemu::{Folder, Image, Socket, Version};

/// The `-device` option of an edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceOption {
    /// No `-device`: the other options make the machine create the device.
    None,
    /// `-device NODE,properties`, with the name of the node.
    Node,
    /// `-device DEVICE,properties`, for a node that is not called like its device.
    Named(&'static str),
}

/// Pieces that are added to a command line: options before the device, further properties of
/// the device, options after it.
#[derive(Debug, Clone, Copy)]
pub struct Addition {
    /// Options before `-device`.
    pub before: &'static str,
    /// Properties, separated by commas, a group each.
    pub properties: &'static [&'static str],
    /// Options after it.
    pub after: &'static str,
}

impl Addition {
    /// No pieces.
    pub const NONE: Self = Self { before: "", properties: &[], after: "" };

    /// Further properties of the device.
    pub const fn properties(properties: &'static [&'static str]) -> Self {
        Self { properties, ..Self::NONE }
    }

    /// These pieces and options before the device.
    pub const fn before(self, before: &'static str) -> Self {
        Self { before, ..self }
    }

    /// These pieces and options after the device.
    pub const fn after(self, after: &'static str) -> Self {
        Self { after, ..self }
    }
}

/// Pieces for some versions of QEMU only.
#[derive(Debug, Clone, Copy)]
pub struct When {
    /// The first version that gets them.
    pub since: Version,
    /// The first later version that does not, if there is one.
    pub until: Option<Version>,
    /// The pieces.
    pub add: Addition,
}

impl When {
    /// Pieces for `version` and all later ones.
    pub const fn since(version: Version, add: Addition) -> Self {
        Self { since: version, until: None, add }
    }

    /// Pieces for all versions before `version`.
    pub const fn before(version: Version, add: Addition) -> Self {
        Self { since: Version::new(0, 0, 0), until: Some(version), add }
    }

    /// The pieces, if a QEMU of this version gets them.
    pub(super) fn piece(&self, version: Version) -> Option<&Addition> {
        let gets = version >= self.since && self.until.is_none_or(|until| version < until);
        gets.then_some(&self.add)
    }
}

/// What an edge adds to the command line: options before the device, the device and its
/// properties, options after it.
///
/// Options are separated by blanks. In options and properties, `{bus}` and `{addr}` stand for
/// the bus and the address of the [`Plug`] that the path has come to; a property or option
/// whose value is empty for that reason is left out. Any other `{NAME}` stands for the file of
/// the image NAME, the path of the folder NAME, or the number of QEMU's end of the socket NAME.
///
/// ```
/// use qgraph::graph::{Addition, QemuArgs};
///
/// const ARGS: QemuArgs = QemuArgs::device("bus={bus},addr={addr}")
///     .add(Addition::properties(&["drive=d"]).before("-drive if=none,id=d,file={disk}"));
/// # let _ = ARGS;
/// ```
#[derive(Debug, Clone, Copy)]
pub struct QemuArgs {
    /// The device itself.
    pub device: DeviceOption,
    /// Its first properties, separated by commas.
    pub properties: &'static str,
    /// All other pieces.
    pub added: Addition,
    /// Pieces for some versions of QEMU only.
    pub when: &'static [When],
    /// The device's own address, where its kind fixes it (I2C); otherwise the bus gives one.
    pub address: &'static str,
    /// Images that the options name.
    pub images: &'static [Image],
    /// Sockets that the options name.
    pub sockets: &'static [Socket],
    /// Folders that the options name.
    pub folders: &'static [Folder],
    /// Words of QEMU by which it refuses to start with these options where it cannot have the
    /// device. A path on which it says one of them is skipped.
    pub refusals: &'static [&'static str],
    /// Whether the device is for a root bus only: no path leads to it behind a bridge.
    pub on_root_only: bool,
    /// The first major version of QEMU whose machines have the device only if they have their
    /// default devices.
    pub defaults_since: Option<u32>,
}

impl QemuArgs {
    /// Nothing at all.
    pub const NONE: Self = Self {
        device: DeviceOption::None,
        properties: "",
        added: Addition::NONE,
        when: &[],
        address: "",
        images: &[],
        sockets: &[],
        folders: &[],
        refusals: &[],
        on_root_only: false,
        defaults_since: None,
    };

    /// `-device NODE` without properties.
    pub const DEVICE: Self = Self::device("");

    /// `-device NODE,properties`.
    pub const fn device(properties: &'static str) -> Self {
        Self { device: DeviceOption::Node, properties, ..Self::NONE }
    }

    /// `-device NAME,properties`, for a node that is not called like its device.
    pub const fn named(name: &'static str, properties: &'static str) -> Self {
        Self { device: DeviceOption::Named(name), properties, ..Self::NONE }
    }

    /// These arguments with further pieces instead of those that were added before.
    pub const fn add(self, added: Addition) -> Self {
        Self { added, ..self }
    }

    /// These arguments with pieces for some versions of QEMU.
    pub const fn when(self, when: &'static [When]) -> Self {
        Self { when, ..self }
    }

    /// These arguments with options before the device.
    pub const fn before(self, before: &'static str) -> Self {
        Self { added: self.added.before(before), ..self }
    }

    /// These arguments with options after the device.
    pub const fn after(self, after: &'static str) -> Self {
        Self { added: self.added.after(after), ..self }
    }

    /// These arguments for a device that has this address on every bus.
    pub const fn at(self, address: &'static str) -> Self {
        Self { address, ..self }
    }

    /// These arguments with images for the options to name.
    pub const fn images(self, images: &'static [Image]) -> Self {
        Self { images, ..self }
    }

    /// These arguments with sockets for the options to name.
    pub const fn sockets(self, sockets: &'static [Socket]) -> Self {
        Self { sockets, ..self }
    }

    /// These arguments with folders for the options to name.
    pub const fn folders(self, folders: &'static [Folder]) -> Self {
        Self { folders, ..self }
    }

    /// These arguments where QEMU may refuse to start with one of these words.
    pub const fn may_refuse(self, refusals: &'static [&'static str]) -> Self {
        Self { refusals, ..self }
    }

    /// These arguments for a device that is plugged into root buses only, if `is` says so.
    pub const fn on_root_only(self, is: bool) -> Self {
        Self { on_root_only: is, ..self }
    }

    /// These arguments where machines of this major version of QEMU, and of later ones, have the
    /// device only if they have their default devices.
    pub const fn with_defaults_since(self, major: u32) -> Self {
        Self { defaults_since: Some(major), ..self }
    }

    /// The device as `-device` takes it.
    pub fn device_name(&self, node: &'static str) -> Option<&'static str> {
        match self.device {
            DeviceOption::None => None,
            DeviceOption::Node => Some(node),
            DeviceOption::Named(name) => Some(name),
        }
    }

    /// The plug of the device itself: that of the bus, with the device's own address if it
    /// has one.
    pub fn plug(&self, bus: Plug) -> Plug {
        bus.with(Plug { bus: "", address: self.address })
    }

    /// The options of the edge to `node` with the pieces of a variant, plugged in at `plug`, on
    /// an emulator of this version: in order, a word each.
    pub fn words(
        &self,
        node: &'static str,
        variant: &Addition,
        plug: Plug,
        version: Version,
    ) -> Vec<String> {
        let plug = self.plug(plug);
        let pieces = [&self.added, variant]
            .into_iter()
            .chain(self.when.iter().filter_map(|when| when.piece(version)));
        let (mut words, mut after) = (Vec::new(), Vec::new());
        let mut properties = filled(self.properties, plug);
        for piece in pieces {
            words.extend(piece.before.split_whitespace().map(|word| filled(word, plug)));
            after.extend(piece.after.split_whitespace().map(|word| filled(word, plug)));
            for group in piece.properties {
                let group = filled(group, plug);
                if !properties.is_empty() && !group.is_empty() {
                    properties.push(',');
                }
                properties.push_str(&group);
            }
        }
        if let Some(device) = self.device_name(node) {
            let comma = if properties.is_empty() { "" } else { "," };
            words.extend(["-device".to_owned(), format!("{device}{comma}{properties}")]);
        }
        words.extend(after);
        words
    }
}

/// `text` with the plug in place of `{bus}` and `{addr}`; a part between commas that names an
/// empty one is left out.
fn filled(text: &str, plug: Plug) -> String {
    let lacks = |part: &str, name: &str, value: &str| value.is_empty() && part.contains(name);
    let kept = text
        .split(',')
        .filter(|part| !lacks(part, "{bus}", plug.bus) && !lacks(part, "{addr}", plug.address));
    let parts: Vec<String> =
        kept.map(|part| part.replace("{bus}", plug.bus).replace("{addr}", plug.address)).collect();
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: Version = Version::new(8, 2, 0);

    fn words(args: QemuArgs, plug: Plug) -> String {
        args.words("dev", &Addition::NONE, plug, NEW).join(" ")
    }

    /// Would catch options in the wrong order, or a device without its properties.
    #[test]
    fn words_come_before_on_and_after_the_device() {
        let args = QemuArgs::device("addr=04.0,id=x").before("-a  b").after("-c d");
        assert_eq!(words(args, Plug::NONE), "-a b -device dev,addr=04.0,id=x -c d");
        assert_eq!(words(QemuArgs::DEVICE, Plug::NONE), "-device dev");
        assert_eq!(words(QemuArgs::NONE.after("-c d"), Plug::NONE), "-c d");
        let named = QemuArgs::named("other", "p=1");
        assert_eq!(words(named, Plug::NONE), "-device other,p=1");
        assert_eq!(named.device_name("dev"), Some("other"));
        assert_eq!(QemuArgs::NONE.device_name("dev"), None);
    }

    /// Would catch the pieces of a variant that replace those of the plain edge, or a second
    /// device that loses the comma between its properties.
    #[test]
    fn a_variant_adds_to_the_plain_edge() {
        let plain = QemuArgs::device("id=x").before("-a").after("-z");
        let variant = Addition::properties(&["p=1", "q=2"]).before("-b").after("-y");
        let words = plain.words("dev", &variant, Plug::NONE, NEW).join(" ");
        assert_eq!(words, "-a -b -device dev,id=x,p=1,q=2 -z -y");
        let words = QemuArgs::DEVICE.words("dev", &variant, Plug::NONE, NEW).join(" ");
        assert_eq!(words, "-b -device dev,p=1,q=2 -y");
    }

    /// Would catch a device on another bus or at another address than the path says, and a
    /// property without a value.
    #[test]
    fn a_plug_is_filled_in_or_its_property_left_out() {
        let args = QemuArgs::device("bus={bus},addr={addr},id=x").after("-global {bus}.y={net}");
        let plug = Plug::new("pcie.0", "04.0");
        assert_eq!(
            words(args, plug),
            "-device dev,bus=pcie.0,addr=04.0,id=x -global pcie.0.y={net}"
        );
        assert_eq!(words(args, Plug::new("", "1")), "-device dev,addr=1,id=x -global ");
        assert_eq!(words(args.at("0x49"), plug).split(',').nth(2), Some("addr=0x49"));
    }

    /// Would catch options that an emulator gets although its version does not know them.
    #[test]
    fn pieces_for_some_versions_only() {
        const AT: Version = Version::new(8, 2, 0);
        const WHEN: &[When] = &[
            When::since(AT, Addition::properties(&["new=on"])),
            When::before(AT, Addition::properties(&["old=on"])),
        ];
        let args = QemuArgs::DEVICE.when(WHEN);
        assert_eq!(words(args, Plug::NONE), "-device dev,new=on");
        let old = args.words("dev", &Addition::NONE, Plug::NONE, Version::new(8, 1, 99));
        assert_eq!(old.join(" "), "-device dev,old=on");
    }
}
