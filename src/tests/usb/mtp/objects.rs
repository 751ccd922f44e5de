//! What a media player tells: its storage, objects, their data and properties (MTP, appendix D).

use std::rc::Rc;

use super::{code, content, make, object, on_host, session, write};
use crate::drivers::usb::mtp::{
    Dataset, ROOT, Response, STORAGE, UsbMtp, container, format, operation, response,
};
use crate::qemu::Vm;
use crate::{Result, attacks, tests};

tests!(UsbMtp, "usb-mtp-tests":
    storage,
    free_space = "free-space",
    objects,
    all_objects = "all-objects",
    optional_parameters = "optional-parameters",
    root_handle = "root-handle",
    names,
    special_files = "special-files",
    get_object = "get-object",
    end_of_data = "end-of-data",
    partial,
    properties,
);
attacks!(UsbMtp, "usb-mtp-attacks": objects, get_object = "get-object", partial);

/// Would catch a storage of another kind, name or number (MTP, 5.2.2).
fn storage(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    let ids = responder.get(operation::GET_STORAGE_IDS, &[])?;
    assert_eq!(Dataset(&ids).words()?, [STORAGE], "the storages");
    let data = responder.get(operation::GET_STORAGE_INFO, &[STORAGE])?;
    let mut info = Dataset(&data);
    // Fixed RAM; a hierarchy; read and write.
    assert_eq!((info.u16()?, info.u16()?, info.u16()?), (3, 2, 0), "the kind of the storage");
    let (capacity, _free, _objects) = (info.u64()?, info.u64()?, info.u32()?);
    assert!(capacity > 1 << 20, "the capacity: {capacity}");
    assert_eq!(info.text()?, "qgraph", "the description");
    info.text()?;
    info.end()?;
    let told = code(&responder, operation::GET_STORAGE_INFO, &[2])?;
    assert_eq!(told, response::INVALID_STORAGE, "another storage");
    Ok(())
}

/// Would catch a storage with more free space than it has space (MTP, 5.2.2.5).
fn free_space(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    let data = responder.get(operation::GET_STORAGE_INFO, &[STORAGE])?;
    let mut info = Dataset(data.get(6..).unwrap_or_default());
    let (capacity, free) = (info.u64()?, info.u64()?);
    assert!(free <= capacity, "{free} bytes of {capacity} are free");
    Ok(())
}

/// Would catch a file or a folder that is not told, or with another name, size, format or place (MTP,
/// D.2.6 to D.2.8).
fn objects(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| {
        write(&share.join("one.txt"), &content(300))?;
        make(&share.join("folder"))?;
        make(&share.join("folder/deeper"))?;
        write(&share.join("folder/deeper/two"), b"")
    })?;
    let mut parents = vec![(ROOT, 0)];
    let mut found = Vec::new();
    while let Some((folder, handle)) = parents.pop() {
        let handles = responder.handles(folder)?;
        let counted = responder.run(operation::GET_NUM_OBJECTS, &[STORAGE, 0, folder])?;
        let count = Response(response::OK, vec![handles.len() as u32]);
        assert_eq!(counted, (count, vec![]), "how many objects a folder has");
        for object in handles {
            let info = responder.info(object)?;
            assert_eq!((info.storage, info.parent), (STORAGE, handle), "where {} is", info.name);
            for date in &info.dates {
                let is_plain = |(at, it): (usize, char)| match at {
                    8 => it == 'T',
                    _ => it.is_ascii_digit(),
                };
                assert!(date.len() == 15 && date.chars().enumerate().all(is_plain), "{date}");
            }
            if info.format == format::ASSOCIATION {
                parents.push((object, object));
                found.push((info.name, None, info.association));
            } else {
                assert_eq!(info.format, format::UNDEFINED, "the format of {}", info.name);
                found.push((info.name, Some(info.size), info.association));
            }
        }
    }
    found.sort();
    let expected =
        [("deeper", None, 1), ("folder", None, 1), ("one.txt", Some(300), 0), ("two", Some(0), 0)];
    assert_eq!(found, expected.map(|(name, size, kind)| (name.to_owned(), size, kind)));
    Ok(())
}

/// Would catch a request for all objects that is answered with those of the root (MTP, D.2.7: a parent of
/// zero).
fn all_objects(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| {
        make(&share.join("folder"))?;
        write(&share.join("folder/inside"), b"")
    })?;
    let folder = object(&responder, ROOT, "folder")?;
    let inside = object(&responder, folder, "inside")?;
    let mut all = responder.handles(0)?;
    all.sort_unstable();
    assert_eq!(all, [folder, inside], "all objects");
    Ok(())
}

/// Would catch parameters that a host may leave out and that are then what memory holds (MTP, D.2.6 and
/// D.2.7: the format and the parent).
fn optional_parameters(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| write(&share.join("file"), b""))?;
    let file = object(&responder, ROOT, "file")?;
    // What a command before has left.
    let wrong = code(&responder, 0x1fff, &[0x55aa_55aa; 5])?;
    assert_eq!(wrong, response::OPERATION_NOT_SUPPORTED, "an operation that there is not");
    let data = responder.get(operation::GET_OBJECT_HANDLES, &[STORAGE])?;
    assert_eq!(Dataset(&data).words()?, [file], "the objects of a storage");
    Ok(())
}

/// Would catch a root that has a handle, which zero is not (MTP, 3.4.1).
fn root_handle(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |_| Ok(()))?;
    let told = code(&responder, operation::GET_OBJECT_INFO, &[0])?;
    assert_eq!(told, response::INVALID_OBJECT, "object 0");
    Ok(())
}

/// Would catch a name that is told otherwise than it is on the host (MTP, 3.2.3: Unicode).
fn names(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let mut expected = ["a b.c".to_owned(), "grün.txt".into(), "日本".into(), "x".repeat(200)];
    let (responder, _) = session(mtp, vm, |share| {
        expected.iter().try_for_each(|name| write(&share.join(name), b""))
    })?;
    let told = responder.handles(ROOT)?.into_iter().map(|it| Ok(responder.info(it)?.name));
    let mut told = told.collect::<Result<Vec<String>>>()?;
    told.sort();
    expected.sort();
    assert_eq!(told, expected, "names");
    Ok(())
}

/// Would catch a link or a pipe of the host that the device tells as a file, by which it reads what is
/// not in the folder or waits for ever.
fn special_files(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| {
        for (name, target) in
            [("file", "/etc/passwd"), ("folder", "/etc"), ("up", ".."), ("no", "x")]
        {
            let link = share.join(name);
            std::os::unix::fs::symlink(target, &link).map_err(|e| on_host(&link, &e))?;
        }
        let socket = share.join("socket");
        std::os::unix::net::UnixListener::bind(&socket).map_err(|e| on_host(&socket, &e))?;
        write(&share.join("plain"), b"")
    })?;
    let told = responder.handles(ROOT)?.into_iter().map(|it| Ok(responder.info(it)?.name));
    assert_eq!(told.collect::<Result<Vec<_>>>()?, ["plain"], "what is told");
    Ok(())
}

/// Would catch a file that comes cut, with other content, or not where its end fills a packet.
fn get_object(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let lengths = [0, 1, 51, 52, 53, 116, 499, 500, 501, 512, 5000];
    let (responder, _) = session(mtp, vm, |share| {
        lengths.iter().try_for_each(|it| write(&share.join(format!("{it}.bin")), &content(*it)))
    })?;
    for length in lengths {
        let file = object(&responder, ROOT, &format!("{length}.bin"))?;
        let told = responder.get(operation::GET_OBJECT, &[file])?;
        assert!(told == content(length), "a file of {length} bytes comes as {}", told.len());
    }
    Ok(())
}

/// Would catch data of full packets that are not ended by an empty one (SICD, 7).
fn end_of_data(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let length = |packet: usize| packet - container::HEAD;
    let (responder, _) = session(mtp, vm, |share| {
        [64, 512]
            .iter()
            .try_for_each(|it| write(&share.join(it.to_string()), &content(length(*it))))
    })?;
    let packet = responder.input.packet;
    let file = object(&responder, ROOT, &packet.to_string())?;
    responder.command(operation::GET_OBJECT, &[file])?;
    assert_eq!(responder.packet()?[container::HEAD..], content(length(packet)), "the data");
    assert_eq!(responder.packet()?, [0u8; 0], "the end of the data");
    assert_eq!(responder.response()?, Response(response::OK, vec![]), "the response");
    Ok(())
}

/// Would catch a part of a file that begins or ends elsewhere than asked for (MTP, D.2.27).
fn partial(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    const ALL: usize = 1000;
    let (responder, _) = session(mtp, vm, |share| write(&share.join("file"), &content(ALL)))?;
    let file = object(&responder, ROOT, "file")?;
    for (offset, length) in
        [(0, 1), (0, 52), (1, 700), (999, 1), (0, 1000), (990, 100), (1, 0xffff_ffff), (500, 0)]
    {
        let end = ALL.min(offset as usize + length as usize);
        let expected = &content(ALL)[offset as usize..end];
        let told = responder.run(operation::GET_PARTIAL_OBJECT, &[file, offset, length])?;
        let response = Response(response::OK, vec![expected.len() as u32]);
        assert_eq!(told, (response, expected.to_vec()), "{length} bytes from {offset} on");
    }
    for offset in [1000, 1001, 0xffff_ffff] {
        let (told, data) = responder.run(operation::GET_PARTIAL_OBJECT, &[file, offset, 10])?;
        assert_eq!((data.len(), told.1.iter().sum::<u32>()), (0, 0), "from {offset} on");
    }
    Ok(())
}

/// Would catch a property of an object that is not what the object is (MTP, D.2.29 to D.2.31).
fn properties(mtp: &UsbMtp, vm: &Rc<Vm>) -> Result<()> {
    let (responder, _) = session(mtp, vm, |share| {
        make(&share.join("folder"))?;
        write(&share.join("folder/file"), &content(77))
    })?;
    let folder = object(&responder, ROOT, "folder")?;
    let file = object(&responder, folder, "file")?;
    let supported = responder.get(operation::GET_PROPS_SUPPORTED, &[format::UNDEFINED.into()])?;
    let supported = Dataset(&supported).halves()?;
    // The code, the type and the value.
    let mut expected = vec![
        (0xdc01, 6, STORAGE.to_le_bytes().to_vec()),
        (0xdc02, 4, format::UNDEFINED.to_le_bytes().to_vec()),
        (0xdc04, 8, 77u64.to_le_bytes().to_vec()),
        (0xdc0b, 6, folder.to_le_bytes().to_vec()),
    ];
    expected.push((0xdc44, 0xffff, crate::drivers::usb::mtp::text("file")));
    for (property, kind, value) in expected {
        assert!(supported.contains(&property), "property {property:#x} is not told");
        let of = [property.into(), format::UNDEFINED.into()];
        let described = responder.get(operation::GET_PROP_DESC, &of)?;
        let mut told = Dataset(&described);
        let told = (told.u16()?, told.u16()?, told.u8()?);
        assert_eq!(told, (property, kind, 0), "property {property:#x}, which cannot be set");
        let told = responder.get(operation::GET_PROP_VALUE, &[file, property.into()])?;
        assert_eq!(told, value, "property {property:#x} of the file");
    }
    // Two objects are told apart by their persistent identifiers.
    let unique = |of: u32| responder.get(operation::GET_PROP_VALUE, &[of, 0xdc41]);
    let (one, other) = (unique(file)?, unique(folder)?);
    assert_eq!((one.len(), other.len()), (16, 16), "the bytes of an identifier");
    assert_ne!(one, other, "the identifiers of a file and a folder");
    let told = code(&responder, operation::GET_PROP_VALUE, &[file, 0xdcff])?;
    assert_eq!(told, response::INVALID_PROPERTY, "a property that there is not");
    Ok(())
}
