//! Reads `info qom-tree`: every object of a machine, with its type.

/// An object.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Object<'t> {
    /// Its canonical QOM path.
    pub path: String,
    /// Its type.
    pub ty: &'t str,
    /// The number of the object that it is a child of.
    pub parent: Option<usize>,
}

impl Object<'_> {
    /// The last part of its path.
    pub(super) fn name(&self) -> &str {
        self.path.rsplit_once('/').map_or(&self.path, |(_, name)| name)
    }
}

/// The objects, parents before their children. Lines that are not understood are passed
/// over.
pub(super) fn objects(text: &str) -> Vec<Object<'_>> {
    let mut objects: Vec<Object> = Vec::new();
    // The objects that the next one may be in, with how far each is indented.
    let mut around: Vec<(usize, usize)> = Vec::new();
    for line in text.lines() {
        let Some((name, ty)) = line.strip_suffix(')').and_then(|line| line.rsplit_once(" ("))
        else {
            continue;
        };
        let name = name.trim_start_matches(' ');
        if !name.starts_with('/') {
            continue;
        }
        let indented = line.len() - line.trim_start_matches(' ').len();
        while around.last().is_some_and(|&(_, other)| other >= indented) {
            around.pop();
        }
        let parent = around.last().map(|&(number, _)| number);
        let path = parent.map_or(String::new(), |parent| objects[parent].path.clone()) + name;
        around.push((objects.len(), indented));
        objects.push(Object { path, ty, parent });
    }
    objects
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Would catch an object with the wrong path or type, such as one after the end of a
    /// branch, or with a space in its name.
    #[test]
    fn objects_have_path_and_type() {
        let text = "/machine (board-machine)\n  /soc (soc)\n    /uart[0] (pl011)\n      \
                    /RESERVED 1[0] (memory-region)\n  /unattached (container)\nnonsense\n";
        let found = objects(text);
        let found: Vec<_> =
            found.iter().map(|object| (&*object.path, object.ty, object.parent)).collect();
        assert_eq!(
            found,
            [
                ("/machine", "board-machine", None),
                ("/machine/soc", "soc", Some(0)),
                ("/machine/soc/uart[0]", "pl011", Some(1)),
                ("/machine/soc/uart[0]/RESERVED 1[0]", "memory-region", Some(2)),
                ("/machine/unattached", "container", Some(0)),
            ]
        );
        assert_eq!(objects(text)[2].name(), "uart[0]");
    }

    proptest! {
        /// Would catch a text on which the reader panics.
        #[test]
        fn any_text_is_read(text in r"(\n| {0,6}/[a-z]{0,3}| \(|\)|.){0,60}") {
            for object in objects(&text) {
                assert!(object.parent.is_none_or(|parent| parent < text.len()));
            }
        }
    }
}
