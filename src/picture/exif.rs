//! EXIF in TIFF. Elsewhere it is a block of its own with the structure of a TIFF; there its tags are among those of the
//! picture, which tell of pixels and strips.

use std::io::{Cursor, Seek, Write};
use tiff::TiffResult;
use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKindStandard};
use tiff::tags::{ByteOrder, Tag, Type};

/// Of the first directory, what tells of the picture and not of how the file holds it. Not the orientation: it has been
/// applied.
const CARRIED: [u16; 19] = [
    269,    // DocumentName
    270,    // ImageDescription
    271,    // Make
    272,    // Model
    282,    // XResolution
    283,    // YResolution
    296,    // ResolutionUnit
    305,    // Software
    306,    // DateTime
    315,    // Artist
    316,    // HostComputer
    18_246, // Rating
    18_249, // RatingPercent
    33_432, // Copyright
    40_091, // XPTitle, and four more of Windows
    40_092, 40_093, 40_094, 40_095,
];
const RESOLUTION: [u16; 3] = [282, 283, 296];
/// The directories that the first one points to.
const BELOW: [Tag; 2] = [Tag::ExifDirectory, Tag::GpsDirectory];
/// Points from the EXIF's directory to another, which tells cameras how to read the file.
const INTEROPERABILITY: u16 = 40_965;

/// What is carried of the tags of a TIFF, or of a block of EXIF: neither thumbnails nor further pictures. A maker's note
/// is as it was, though some have offsets in them that no longer hold.
pub(super) struct Tags<'a> {
    order: ByteOrder,
    first: Vec<Value<'a>>,
    below: Vec<(Tag, Vec<Value<'a>>)>,
}

/// The value of a tag in the byte order of the file.
struct Value<'a> {
    tag: u16,
    kind: Type,
    bytes: &'a [u8],
}

impl<'a> Tags<'a> {
    /// `None` when there is nothing to carry. What is damaged is left out.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let order = match bytes.get(..4)? {
            b"II*\0" => ByteOrder::LittleEndian,
            b"MM\0*" => ByteOrder::BigEndian,
            _ => return None,
        };
        let file = File { bytes, order };
        let all = file.directory(file.number(bytes.get(4..8)?)?);
        let below = BELOW.map(|tag| {
            let pointer = all.iter().find(|value| value.tag == tag.to_u16());
            let at = pointer.and_then(|pointer| file.number(pointer.bytes));
            let mut values = at.map_or(Vec::new(), |at| file.directory(at));
            values.retain(|value| value.tag != INTEROPERABILITY);
            (tag, values)
        });
        // Of no unit it is but the shape of the pixels, and TIFF always has it.
        let has_unit = all
            .iter()
            .any(|value| value.tag == 296 && matches!(file.number(value.bytes), Some(2 | 3)));
        let carried = |value: &Value| {
            CARRIED.contains(&value.tag) && (has_unit || !RESOLUTION.contains(&value.tag))
        };
        let tags = Self {
            order,
            first: all.into_iter().filter(carried).collect(),
            below: Vec::from_iter(below.into_iter().filter(|(_, values)| !values.is_empty())),
        };
        // More than the file has: values that lie on each other would make much of little.
        let size = tags.values().map(|value| value.bytes.len()).sum::<usize>();
        (size > 0 && size <= bytes.len()).then_some(tags)
    }

    fn values(&self) -> impl Iterator<Item = &Value<'a>> {
        let below = self.below.iter().flat_map(|(_, values)| values);
        self.first.iter().chain(below)
    }

    /// A block of EXIF, from its byte order mark on.
    pub(super) fn to_exif(&self) -> TiffResult<Vec<u8>> {
        let mut exif = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut exif)?;
        let below = self.write_below(&mut encoder)?;
        let mut first = encoder.image_directory()?;
        self.write_first(&below, &mut first)?;
        first.finish()?;
        Ok(exif.into_inner())
    }

    /// Writes the directories that the first one is to point to, and returns where they are.
    pub(super) fn write_below<W: Write + Seek>(
        &self,
        encoder: &mut TiffEncoder<W>,
    ) -> TiffResult<Vec<(Tag, u32)>> {
        let write = |(tag, values): &(Tag, Vec<Value>)| {
            let mut directory = encoder.extra_directory()?;
            self.write(values, &mut directory)?;
            Ok((*tag, directory.finish_with_offsets()?.offset))
        };
        self.below.iter().map(write).collect()
    }

    /// Adds the tags of the first directory to one that is being written.
    pub(super) fn write_first<W: Write + Seek>(
        &self,
        below: &[(Tag, u32)],
        to: &mut DirectoryEncoder<W, TiffKindStandard>,
    ) -> TiffResult<()> {
        for &(tag, offset) in below {
            to.write_tag(tag, offset)?;
        }
        self.write(&self.first, to)
    }

    fn write<W: Write + Seek>(
        &self,
        values: &[Value],
        to: &mut DirectoryEncoder<W, TiffKindStandard>,
    ) -> TiffResult<()> {
        let mut written = tiff::Directory::empty();
        for value in values {
            let mut bytes = value.bytes.to_vec();
            self.order
                .convert(value.kind, &mut bytes, ByteOrder::native());
            let entry = to.write_entry_bytes(value.kind, &bytes)?;
            written.extend([(Tag::from_u16_exhaustive(value.tag), entry)]);
        }
        to.extend_from(&written);
        Ok(())
    }
}

/// A TIFF structure.
struct File<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> File<'a> {
    /// The values of the directory at `at`, without those that do not fit the file.
    fn directory(&self, at: usize) -> Vec<Value<'a>> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let Some((count, entries)) = bytes.split_at_checked(2) else {
            return Vec::new();
        };
        let count = self.number(count).unwrap_or(0);
        let entries = entries.chunks_exact(12).take(count);
        entries.filter_map(|entry| self.value(entry)).collect()
    }

    /// The value of an entry: tag, kind, count, and where it is unless there is room for it.
    fn value(&self, entry: &'a [u8]) -> Option<Value<'a>> {
        let kind = Type::from_u16(self.number(&entry[2..4])? as u16)?;
        let size = match kind {
            Type::BYTE | Type::SBYTE | Type::ASCII | Type::UNDEFINED => 1,
            Type::SHORT | Type::SSHORT => 2,
            Type::LONG | Type::SLONG | Type::FLOAT | Type::IFD => 4,
            Type::RATIONAL | Type::SRATIONAL | Type::DOUBLE => 8,
            _ => return None, // of BigTIFF
        };
        let size = self.number(&entry[4..8])?.checked_mul(size)?;
        let bytes = match size {
            0..=4 => &entry[8..8 + size],
            _ => self.bytes.get(self.number(&entry[8..])?..)?.get(..size)?,
        };
        let tag = self.number(&entry[..2])? as u16;
        Some(Value { tag, kind, bytes })
    }

    /// A number of two or four bytes.
    fn number(&self, bytes: &[u8]) -> Option<usize> {
        let add = |sum, &byte| (sum << 8) | usize::from(byte);
        let number = match self.order {
            ByteOrder::BigEndian => bytes.iter().fold(0, add),
            ByteOrder::LittleEndian => bytes.iter().rev().fold(0, add),
        };
        matches!(bytes.len(), 2 | 4).then_some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A maker's name of four bytes, and an exposure of 1/50 in the directory below.
    fn exif() -> Vec<u8> {
        let mut exif = b"MM\0*\0\0\0\x08\0\x02".to_vec();
        exif.extend(b"\x01\x0f\0\x02\0\0\0\x04Ann\0");
        exif.extend(b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x26\0\0\0\0");
        exif.extend(b"\0\x01\x82\x9a\0\x05\0\0\0\x01\0\0\0\x38\0\0\0\0");
        exif.extend(b"\0\0\0\x01\0\0\0\x32");
        exif
    }

    /// Each value as numbers: the byte order may be another one.
    fn values(exif: &[u8]) -> Vec<(u16, Vec<usize>)> {
        let tags = Tags::read(exif).unwrap();
        let file = File {
            bytes: exif,
            order: tags.order,
        };
        let values = tags.values().map(|value| {
            let unit = match value.kind {
                Type::RATIONAL => 4,
                _ => 1,
            };
            let numbers = value.bytes.chunks(unit).map(|bytes| match bytes {
                [byte] => usize::from(*byte),
                bytes => file.number(bytes).unwrap(),
            });
            (value.tag, numbers.collect())
        });
        values.collect()
    }

    #[test]
    fn another_byte_order_says_the_same() {
        let before = exif();
        let after = Tags::read(&before).unwrap().to_exif().unwrap();
        let expected = vec![
            (271, b"Ann\0".map(usize::from).to_vec()),
            (33_434, vec![1, 50]),
        ];
        assert_eq!(values(&before), expected);
        assert_eq!(values(&after), expected);
    }

    #[test]
    fn nothing_to_carry_is_none() {
        let orientation = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        for bytes in [&b""[..], b"II*\0", b"no TIFF at all", orientation] {
            assert!(Tags::read(bytes).is_none());
        }
    }

    proptest! {
        /// Bytes that are overwritten lead nowhere but to fewer or other tags.
        #[test]
        fn damage_is_survived(at in 0..64_usize, byte: u8, length in 0..=64_usize) {
            let mut exif = exif();
            exif[at] = byte;
            exif.truncate(length);
            if let Some(tags) = Tags::read(&exif) {
                prop_assert!(tags.to_exif().unwrap().len() < 200);
            }
        }
    }
}
