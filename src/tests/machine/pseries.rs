//! The paravirtual POWER machine: further PCI host bridges (PAPR+, chapter 7).

use std::rc::Rc;

use serde_json::json;

use crate::machines::ppc::pseries::Pseries;
use crate::qemu::Vm;
use crate::{Result, protocol, tests};

tests!(Pseries, "ppc64/pseries-tests": spapr_phb = "spapr-phb-test");

/// Would catch a host bridge that cannot be added, has another number than it was given, takes no
/// device, or shares its number with another.
fn spapr_phb(_: &Pseries, vm: &Rc<Vm>) -> Result<()> {
    vm.note_lasting("another PCI host bridge");
    let bridge = |id: &str| json!({ "driver": "spapr-pci-host-bridge", "index": 30, "id": id });
    vm.qmp().execute("device_add", bridge("phb30"))?;
    let get = |property: &str| {
        let arguments = json!({ "path": "/machine/peripheral/phb30", "property": property });
        vm.qmp().execute("qom-get", arguments)
    };
    assert_eq!(get("index")?, 30, "the number of the bridge");
    assert_eq!(get("realized")?, true, "whether the bridge is there");
    let device = json!({ "driver": "pci-testdev", "bus": "phb30.0", "addr": "01.0", "id": "dev" });
    vm.qmp().execute("device_add", device)?;
    match vm.qmp().execute("device_add", bridge("twin")) {
        Err(protocol::Error::Qmp { desc, .. }) => {
            assert!(desc.contains("30") || desc.contains("index"), "why it is refused: {desc}");
        }
        other => panic!("a second bridge of the same number: {other:?}"),
    }
    Ok(())
}
