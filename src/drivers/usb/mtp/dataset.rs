//! Datasets of MTP: numbers, the lowest byte first, arrays and texts (MTP, 3.2).

use crate::{Error, Result};

/// What is left of a dataset.
pub struct Dataset<'a>(
    /// The bytes.
    pub &'a [u8],
);

/// A text: the number of its characters with the zero at its end, then these in UTF-16.
pub fn text(text: &str) -> Vec<u8> {
    let mut units: Vec<u16> = text.encode_utf16().collect();
    if !units.is_empty() {
        units.push(0);
    }
    let mut bytes = vec![units.len() as u8];
    bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
    bytes
}

impl Dataset<'_> {
    fn number<const N: usize>(&mut self) -> Result<[u8; N]> {
        let Some((first, rest)) = self.0.split_first_chunk::<N>() else {
            let why = format!("a dataset ends with {:02x?}, where {N} bytes should be", self.0);
            return Err(Error::failed(why));
        };
        self.0 = rest;
        Ok(*first)
    }

    /// A number of 8 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn u8(&mut self) -> Result<u8> {
        self.number().map(u8::from_le_bytes)
    }

    /// A number of 16 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn u16(&mut self) -> Result<u16> {
        self.number().map(u16::from_le_bytes)
    }

    /// A number of 32 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn u32(&mut self) -> Result<u32> {
        self.number().map(u32::from_le_bytes)
    }

    /// A number of 64 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn u64(&mut self) -> Result<u64> {
        self.number().map(u64::from_le_bytes)
    }

    /// An array of numbers of 16 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn halves(&mut self) -> Result<Vec<u16>> {
        (0..self.u32()?).map(|_| self.u16()).collect()
    }

    /// An array of numbers of 32 bits.
    ///
    /// # Errors
    /// The dataset has ended.
    pub fn words(&mut self) -> Result<Vec<u32>> {
        (0..self.u32()?).map(|_| self.u32()).collect()
    }

    /// A text.
    ///
    /// # Errors
    /// The dataset has ended, or the text does not end with a zero.
    pub fn text(&mut self) -> Result<String> {
        let count = self.u8()?;
        let units = (0..count).map(|_| self.u16()).collect::<Result<Vec<u16>>>()?;
        match units.split_last() {
            None => Ok(String::new()),
            Some((0, text)) => Ok(String::from_utf16_lossy(text)),
            Some(_) => Err(Error::failed(format!("a text without an end: {units:04x?}"))),
        }
    }

    /// The end of the dataset.
    ///
    /// # Errors
    /// There is more.
    pub fn end(self) -> Result<()> {
        match self.0 {
            [] => Ok(()),
            more => Err(Error::failed(format!("behind the end of a dataset are {more:02x?}"))),
        }
    }
}

/// What an object is (MTP, 5.3.1), without what pictures alone have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectInfo {
    /// Its storage.
    pub storage: u32,
    /// Its format.
    pub format: u16,
    /// Its size in bytes.
    pub size: u32,
    /// The folder that it is in; zero in the root.
    pub parent: u32,
    /// What kind of an association it is; 1 is a folder.
    pub association: u16,
    /// Its name.
    pub name: String,
    /// When it was made, and changed last.
    pub dates: [String; 2],
}

impl ObjectInfo {
    /// A file that a host wants to send.
    pub fn file(name: &str, size: usize) -> Self {
        let (format, dates) = (super::format::UNDEFINED, Default::default());
        let name = name.to_owned();
        Self { storage: 0, format, size: size as u32, parent: 0, association: 0, name, dates }
    }

    /// A folder that a host wants to make.
    pub fn folder(name: &str) -> Self {
        Self { format: super::format::ASSOCIATION, association: 1, ..Self::file(name, 0) }
    }

    /// What a dataset says.
    ///
    /// # Errors
    /// It ends too early or too late, or tells a picture of what is none.
    pub fn of(bytes: &[u8]) -> Result<Self> {
        let mut from = Dataset(bytes);
        let (storage, format, protection) = (from.u32()?, from.u16()?, from.u16()?);
        let (size, thumb_format) = (from.u32()?, from.u16()?);
        let picture = (0..6).map(|_| from.u32()).collect::<Result<Vec<u32>>>()?;
        let (parent, association) = (from.u32()?, from.u16()?);
        let (_description, number) = (from.u32()?, from.u32()?);
        let name = from.text()?;
        let dates = [from.text()?, from.text()?];
        let keywords = from.text()?;
        from.end()?;
        let rest = (protection, thumb_format, &picture[..], number, keywords.as_str());
        if rest != (0, 0, &[0; 6][..], 0, "") {
            return Err(Error::failed(format!("{name} is told with {rest:x?}")));
        }
        Ok(Self { storage, format, size, parent, association, name, dates })
    }

    /// The dataset.
    pub fn bytes(&self) -> Vec<u8> {
        let mut all = self.storage.to_le_bytes().to_vec();
        all.extend(self.format.to_le_bytes());
        all.extend([0; 2]);
        all.extend(self.size.to_le_bytes());
        all.extend([0; 26]);
        all.extend(self.parent.to_le_bytes());
        all.extend(self.association.to_le_bytes());
        all.extend([0; 8]);
        for it in [self.name.as_str(), &self.dates[0], &self.dates[1], ""] {
            all.extend(text(it));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Would catch a field that is written where another is read, and a text without its end.
    #[test]
    fn an_object_is_told_as_it_was_written() {
        let dates = ["20260102T030405".to_owned(), String::new()];
        let file = ObjectInfo { storage: 7, parent: 9, dates, ..ObjectInfo::file("ä.txt", 1234) };
        let bytes = file.bytes();
        assert_eq!(bytes.len(), 52 + 13 + 33 + 1 + 1);
        assert_eq!(ObjectInfo::of(&bytes).unwrap(), file);
        assert!(ObjectInfo::of(&bytes[..bytes.len() - 1]).is_err());
        assert_eq!(text("a"), [2, b'a', 0, 0, 0]);
    }
}
