//! EXIF in TIFF files. In other formats EXIF is a separate block with the structure of a TIFF file.
//! In TIFF its tags share the directories (IFDs) with the tags that describe pixels and strips.

use std::io::{Cursor, Seek, Write};
use tiff::TiffResult;
use tiff::encoder::{DirectoryEncoder, TiffEncoder, TiffKindStandard};
use tiff::tags::{ByteOrder, Tag, Type};

/// The tags of IFD0 that describe the picture rather than its storage. The orientation is not one
/// of them, because it is applied on reading.
const KEPT: [u16; 19] = [
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
    40_091, // XPTitle and four more tags from Windows
    40_092, 40_093, 40_094, 40_095,
];
const RESOLUTION: [u16; 3] = [282, 283, 296];
/// The tags of IFD0 that point to other IFDs.
const SUB_IFDS: [Tag; 2] = [Tag::ExifDirectory, Tag::GpsDirectory];
/// The tag of the EXIF IFD that points to the interoperability IFD, which describes the structure
/// of the file for cameras.
const INTEROPERABILITY: u16 = 40_965;

/// The tags of a TIFF file or an EXIF block that are kept. Thumbnails and further pictures are not.
/// Maker notes are copied unchanged, although the offsets in some of them become invalid.
pub(super) struct ExifTags<'a> {
    order: ByteOrder,
    ifd0: Vec<TagValue<'a>>,
    /// Each IFD that IFD0 points to, and the tag of the pointer.
    sub_ifds: Vec<(Tag, Vec<TagValue<'a>>)>,
}

/// The value of a tag, in the byte order of the file.
struct TagValue<'a> {
    tag: u16,
    kind: Type,
    bytes: &'a [u8],
}

impl<'a> ExifTags<'a> {
    /// Reads the tags. Skips damaged ones. Returns `None` if there is nothing to keep.
    pub(super) fn read(bytes: &'a [u8]) -> Option<Self> {
        let order = match bytes.get(..4)? {
            b"II*\0" => ByteOrder::LittleEndian,
            b"MM\0*" => ByteOrder::BigEndian,
            _ => return None,
        };
        let file = Structure { bytes, order };
        let all = file.directory(file.number(bytes.get(4..8)?)?);
        let sub_ifds = SUB_IFDS.map(|tag| {
            let pointer = all.iter().find(|value| value.tag == tag.to_u16());
            let at = pointer.and_then(|pointer| file.number(pointer.bytes));
            let mut values = at.map_or(Vec::new(), |at| file.directory(at));
            values.retain(|value| value.tag != INTEROPERABILITY);
            (tag, values)
        });
        // A resolution without a unit is only the aspect ratio of the pixels, and every TIFF file
        // has one.
        let has_unit = all
            .iter()
            .any(|value| value.tag == 296 && matches!(file.number(value.bytes), Some(2 | 3)));
        let is_kept = |value: &TagValue| {
            KEPT.contains(&value.tag) && (has_unit || !RESOLUTION.contains(&value.tag))
        };
        let tags = Self {
            order,
            ifd0: all.into_iter().filter(is_kept).collect(),
            sub_ifds: Vec::from_iter(
                sub_ifds
                    .into_iter()
                    .filter(|(_, values)| !values.is_empty()),
            ),
        };
        // Overlapping values could make a small file expand to a large one, so the total must not
        // exceed the file.
        let size = tags.values().map(|value| value.bytes.len()).sum::<usize>();
        (size > 0 && size <= bytes.len()).then_some(tags)
    }

    fn values(&self) -> impl Iterator<Item = &TagValue<'a>> {
        let in_sub_ifds = self.sub_ifds.iter().flat_map(|(_, values)| values);
        self.ifd0.iter().chain(in_sub_ifds)
    }

    /// Encodes the tags as an EXIF block, which begins with the byte order mark.
    pub(super) fn to_exif(&self) -> TiffResult<Vec<u8>> {
        let mut exif = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut exif)?;
        let sub_ifds = self.write_sub_ifds(&mut encoder)?;
        let mut ifd0 = encoder.image_directory()?;
        self.write_ifd0(&sub_ifds, &mut ifd0)?;
        ifd0.finish()?;
        Ok(exif.into_inner())
    }

    /// Writes the IFDs that IFD0 points to, and returns their offsets.
    pub(super) fn write_sub_ifds<W: Write + Seek>(
        &self,
        encoder: &mut TiffEncoder<W>,
    ) -> TiffResult<Vec<(Tag, u32)>> {
        let write = |(tag, values): &(Tag, Vec<TagValue>)| {
            let mut directory = encoder.extra_directory()?;
            self.write(values, &mut directory)?;
            Ok((*tag, directory.finish_with_offsets()?.offset))
        };
        self.sub_ifds.iter().map(write).collect()
    }

    /// Adds the tags of IFD0 to a directory that is being written. `sub_ifds` has the offsets from
    /// [`write_sub_ifds`](Self::write_sub_ifds).
    pub(super) fn write_ifd0<W: Write + Seek>(
        &self,
        sub_ifds: &[(Tag, u32)],
        to: &mut DirectoryEncoder<W, TiffKindStandard>,
    ) -> TiffResult<()> {
        for &(tag, offset) in sub_ifds {
            to.write_tag(tag, offset)?;
        }
        self.write(&self.ifd0, to)
    }

    fn write<W: Write + Seek>(
        &self,
        values: &[TagValue],
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

/// The bytes of a TIFF file or an EXIF block.
struct Structure<'a> {
    bytes: &'a [u8],
    order: ByteOrder,
}

impl<'a> Structure<'a> {
    /// Returns the values of the directory at offset `at`, without those that lie outside of the
    /// file.
    fn directory(&self, at: usize) -> Vec<TagValue<'a>> {
        let bytes = self.bytes.get(at..).unwrap_or_default();
        let Some((count, entries)) = bytes.split_at_checked(2) else {
            return Vec::new();
        };
        let count = self.number(count).unwrap_or(0);
        let entries = entries.chunks_exact(12).take(count);
        entries.filter_map(|entry| self.value(entry)).collect()
    }

    /// Reads the value of an entry of 12 bytes: tag, type, count, and either the value or its
    /// offset.
    fn value(&self, entry: &'a [u8]) -> Option<TagValue<'a>> {
        let kind = Type::from_u16(self.number(&entry[2..4])? as u16)?;
        let size = match kind {
            Type::BYTE | Type::SBYTE | Type::ASCII | Type::UNDEFINED => 1,
            Type::SHORT | Type::SSHORT => 2,
            Type::LONG | Type::SLONG | Type::FLOAT | Type::IFD => 4,
            Type::RATIONAL | Type::SRATIONAL | Type::DOUBLE => 8,
            _ => return None, // types of BigTIFF
        };
        let size = self.number(&entry[4..8])?.checked_mul(size)?;
        let bytes = match size {
            0..=4 => &entry[8..8 + size],
            _ => self.bytes.get(self.number(&entry[8..])?..)?.get(..size)?,
        };
        let tag = self.number(&entry[..2])? as u16;
        Some(TagValue { tag, kind, bytes })
    }

    /// Reads an unsigned integer of two or four bytes. Returns `None` for any other length.
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

    /// Returns a maker of four bytes in IFD0, and an exposure time of 1/50 in the EXIF IFD.
    fn exif() -> Vec<u8> {
        let mut exif = b"MM\0*\0\0\0\x08\0\x02".to_vec();
        exif.extend(b"\x01\x0f\0\x02\0\0\0\x04Ann\0");
        exif.extend(b"\x87\x69\0\x04\0\0\0\x01\0\0\0\x26\0\0\0\0");
        exif.extend(b"\0\x01\x82\x9a\0\x05\0\0\0\x01\0\0\0\x38\0\0\0\0");
        exif.extend(b"\0\0\0\x01\0\0\0\x32");
        exif
    }

    /// Returns each value as numbers, which do not depend on the byte order.
    fn values(exif: &[u8]) -> Vec<(u16, Vec<usize>)> {
        let tags = ExifTags::read(exif).unwrap();
        let file = Structure {
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
    fn values_survive_a_change_of_byte_order() {
        let before = exif();
        let after = ExifTags::read(&before).unwrap().to_exif().unwrap();
        let expected = vec![
            (271, b"Ann\0".map(usize::from).to_vec()),
            (33_434, vec![1, 50]),
        ];
        assert_eq!(values(&before), expected);
        assert_eq!(values(&after), expected);
    }

    #[test]
    fn nothing_to_keep_is_none() {
        let orientation = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        for bytes in [&b""[..], b"II*\0", b"no TIFF at all", orientation] {
            assert!(ExifTags::read(bytes).is_none());
        }
    }

    proptest! {
        /// Damaged bytes lead to fewer or other tags, and nothing worse.
        #[test]
        fn damage_is_survived(at in 0..64_usize, byte: u8, length in 0..=64_usize) {
            let mut exif = exif();
            exif[at] = byte;
            exif.truncate(length);
            if let Some(tags) = ExifTags::read(&exif) {
                prop_assert!(tags.to_exif().unwrap().len() < 200);
            }
        }
    }
}
