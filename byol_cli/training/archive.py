"""The zip archives that torch.save writes, told from every other file without trusting what they say of themselves.

Such an archive is one record after the other, uncompressed, then the directory, its zip64 record and the end. Nothing
else is let through: what has one meaning only is read by torch as it was checked here, and takes no more memory than
the file is long. (Python's `zipfile` reads more than that, and differs from torch's reader in what it makes of it.)
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from byol_cli.schema.errors import InputError

SKELETON = "data.pkl"
STORAGE = re.compile(r"data/(0|[1-9]\d{0,8})")
_SMALL = {  # the other records, and what may be in them
    "version": rb"\d{1,2}\n?",
    "byteorder": rb"little",
    ".format_version": rb"\d{1,2}",
    ".storage_alignment": rb"\d{1,7}",
    ".data/serialization_id": rb"\d{1,64}",
}
_NEEDED = (SKELETON, "version", "byteorder")
_LONGEST_SMALL = 64
_LONGEST_SKELETON = _LONGEST_DIRECTORY = 16 << 20  # some 100,000 tensors
_BLOCK = 1 << 20

_RECORD = struct.Struct("<4s5H3L2H")
_ENTRY = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_ALL_ENDS = _END64.size + _LOCATOR.size + _END.size
_IN_ZIP64 = 0xFFFFFFFF  # stands for a number that is in the entry's zip64 field
_LONGEST_DESCRIPTOR = 24  # what follows a record's data
_FLAGS = 0x808  # sizes in a descriptor, names in UTF-8


@dataclass(frozen=True)
class Record:
    """Where the bytes of one record lie in the file, and their CRC-32."""

    start: int
    size: int
    crc: int


def read_records(file: BinaryIO) -> dict[str, Record]:
    """The records of the archive by their name below its one top folder.

    Raises:
        InputError: it is not an archive as torch.save writes it.
    """
    directory, directory_start, count = _directory(file)
    records: dict[str, Record] = {}
    top, end = None, 0
    for full_name, flags, size, crc, offset in _entries(directory):
        folder, _, name = full_name.partition("/")
        if top not in (None, folder) or folder in ("", ".", "..") or not folder.isprintable() or "\\" in folder:
            raise InputError(f"its records lie in other folders than one, such as {full_name}")
        top = folder
        if name != SKELETON and name not in _SMALL and not STORAGE.fullmatch(name):
            raise InputError(f"it holds a record {full_name}, which torch.save never writes")
        if name in records:
            raise InputError(f"it holds {full_name} twice")
        if not 0 <= offset - end <= (_LONGEST_DESCRIPTOR if records else 0):
            raise InputError(f"its record {full_name} lies over another one or away from it")
        start = _data_start(file, offset, full_name, flags)
        end = start + size
        if end > directory_start:
            raise InputError(f"its record {full_name} is longer than the file")
        records[name] = Record(start, size, crc)
    if len(records) != count or directory_start - end > _LONGEST_DESCRIPTOR:
        raise InputError("its directory lists other records than it holds")
    _check_small(file, records)
    return records


def content(file: BinaryIO, record: Record) -> bytes:
    """The bytes of a record."""
    file.seek(record.start)
    return file.read(record.size)


def check_contents(file: BinaryIO, records: dict[str, Record]) -> None:
    """Hold every record against its CRC-32, which torch's own reader does not; raises InputError for a damaged one."""
    for name, record in records.items():
        file.seek(record.start)
        left, crc = record.size, 0
        while left and (block := file.read(min(left, _BLOCK))):
            left, crc = left - len(block), zlib.crc32(block, crc)
        if left or crc != record.crc:
            raise InputError(f"its record {name} is damaged (its CRC-32 is another)")


def _directory(file: BinaryIO) -> tuple[bytes, int, int]:
    """The directory's bytes, where they begin, and the number of entries."""
    file_size = file.seek(0, 2)
    file.seek(max(0, file_size - _ALL_ENDS))
    tail = file.read(_ALL_ENDS)
    end = file_size - _END.size
    if end < 0 or tail[-_END.size :][:4] != b"PK\5\6":
        raise InputError("it is not an archive of torch.save, or it is cut off")
    _, _, _, _, count, length, start, comment = _END.unpack(tail[-_END.size :])
    if len(tail) == _ALL_ENDS and tail[_END64.size :].startswith(b"PK\6\7"):
        signature, _, _, _, _, _, _, count, length, start = _END64.unpack(tail[: _END64.size])
        end = file_size - _ALL_ENDS
        at = _LOCATOR.unpack(tail[_END64.size : -_END.size])[2]
        if signature != b"PK\6\6" or at != end:
            raise InputError("the end of its archive is damaged")
    if comment or start + length != end or length > _LONGEST_DIRECTORY:
        raise InputError("the directory of its archive is damaged, or larger than that of any checkpoint")
    file.seek(start)
    return file.read(length), start, count


def _entries(directory: bytes) -> Iterator[tuple[str, int, int, int, int]]:
    """Name, flags, size, CRC-32 and offset of each entry."""
    at = 0
    while at < len(directory):
        if directory[at : at + 4] != b"PK\1\2" or len(directory) - at < _ENTRY.size:
            raise InputError("the directory of its archive is damaged")
        fields = _ENTRY.unpack_from(directory, at)
        flags, method, crc, packed, size, offset = *fields[3:5], *fields[7:10], fields[16]
        name_end = at + _ENTRY.size + fields[10]
        extra_end = name_end + fields[11]
        try:
            name = directory[at + _ENTRY.size : name_end].decode("ascii")
        except UnicodeDecodeError:
            raise InputError("it holds a record with a name that torch.save never writes") from None
        size, packed, offset = _from_zip64([size, packed, offset], directory[name_end:extra_end])
        if method or packed != size or flags & ~_FLAGS:
            raise InputError(f"its record {name} is compressed or encrypted, which torch.save never does")
        yield name, flags, size, crc, offset
        at = extra_end + fields[12]
    if at != len(directory):
        raise InputError("the directory of its archive is damaged")


def _from_zip64(numbers: list[int], extra: bytes) -> list[int]:
    """`numbers`, those that do not fit 32 bits taken from the entry's zip64 field."""
    large: list[int] = []
    at = 0
    while at + 4 <= len(extra) and not large:
        kind, length = struct.unpack_from("<2H", extra, at)
        if kind == 1:
            field = extra[at + 4 : at + 4 + length]
            large = list(struct.unpack_from(f"<{len(field) // 8}Q", field))
        at += 4 + length
    if numbers.count(_IN_ZIP64) > len(large):
        raise InputError("the directory of its archive is damaged")
    return [large.pop(0) if number == _IN_ZIP64 else number for number in numbers]


def _data_start(file: BinaryIO, offset: int, name: str, flags: int) -> int:
    """Where a record's bytes begin, behind its own header, which must say what the directory says."""
    file.seek(offset)
    header = file.read(_RECORD.size)
    if len(header) < _RECORD.size or header[:4] != b"PK\3\4":
        raise InputError(f"its record {name} is not where the directory of its archive says")
    fields = _RECORD.unpack(header)
    if fields[2:4] != (flags, 0) or file.read(fields[9]) != name.encode():
        raise InputError(f"its record {name} is another one than the directory of its archive says")
    return offset + _RECORD.size + fields[9] + fields[10]


def _check_small(file: BinaryIO, records: dict[str, Record]) -> None:
    for name in _NEEDED:
        if name not in records:
            raise InputError(f"it lacks the record {name} of torch.save")
    for name, record in records.items():
        if name in _SMALL and (record.size > _LONGEST_SMALL or not re.fullmatch(_SMALL[name], content(file, record))):
            raise InputError(f"its record {name} holds something else than torch.save writes")
    if records[SKELETON].size > _LONGEST_SKELETON:
        raise InputError(f"its record {SKELETON} is larger than that of any checkpoint")
