"""Only archives as torch.save writes them are read, and they mean to us what they mean to others."""

import io
import re
import struct
import zipfile
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol_cli.schema.errors import InputError
from byol_cli.training.archive import check_contents, content, read_records

END = 98  # zip64 record, its locator and the end, as torch writes them


def records_in(data: bytes) -> dict[str, bytes]:
    file = io.BytesIO(data)
    records = read_records(file)
    check_contents(file, records)
    return {name: content(file, record) for name, record in records.items()}


def records_by_zipfile(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}


def test_the_records_are_those_that_zipfile_finds(good: bytes, forge: SimpleNamespace) -> None:
    assert records_in(good) == records_by_zipfile(good)
    assert len(records_in(good)) > 50
    assert records_in(forge.rezipped(good)) == records_by_zipfile(good)


def test_a_record_without_bytes_is_read(forge: SimpleNamespace) -> None:
    data = forge.torch_bytes({"empty": torch.zeros(0), "full": torch.ones(1)})
    assert records_in(data)["data/0"] == b""


def test_sizes_and_places_in_zip64_fields_are_read(
    good: bytes, forge: SimpleNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in files of more than 4 GiB."""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 10)
    data = forge.rezipped(good)
    assert data.count(b"\xff\xff\xff\xff") > 50
    assert records_in(data) == records_by_zipfile(good)


def test_a_compressed_record_is_refused_before_it_is_opened(forge: SimpleNamespace) -> None:
    bomb = forge.rezipped(forge.torch_bytes(torch.zeros(1 << 20)), compression=zipfile.ZIP_DEFLATED)
    assert len(bomb) < 20_000
    with pytest.raises(InputError, match="compressed"):
        records_in(bomb)


@pytest.mark.parametrize(
    "name",
    [
        "../data/0",
        "archive/../data/0",
        "archive/data/../../0",
        "/data/0",
        "//data/0",
        "archive//data/0",
        "archive\\data/0",
        "C:\\archive/data/0",
        "other/data/0",
        "../byteorder",
        "archive/data/00",
        "archive/data/-1",
        "archive/data/0x",
        "archive/data/9999999999",
        "archive/DATA/0",
        "archive/constants.pkl",
        "archive/code/evil.py",
        "archive/data/0\n",
        "data",
        "archive/data/\u0663",  # a digit, though not one of torch's
    ],
)
def test_a_record_with_another_name_is_refused(name: str, forge: SimpleNamespace) -> None:
    buffer = io.BytesIO(forge.rezipped(forge.torch_bytes({"a": torch.zeros(2)})))
    assert read_records(buffer)
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr(name, b"12345678")
    with pytest.raises(InputError, match="in other folders than one|never writes"):
        read_records(buffer)


@pytest.mark.parametrize("folder", ["..", ".", "", "a\\b"])
def test_a_top_folder_that_leads_elsewhere_is_refused(folder: str) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(f"{folder}/data.pkl", b"")
    with pytest.raises(InputError, match="in other folders than one"):
        read_records(buffer)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice_is_refused(forge: SimpleNamespace) -> None:
    buffer = io.BytesIO(forge.rezipped(forge.torch_bytes({"a": torch.zeros(2)})))
    with zipfile.ZipFile(buffer, "a") as archive:
        archive.writestr("archive/data/0", b"12345678")
    with pytest.raises(InputError, match="twice"):
        read_records(buffer)


@pytest.mark.parametrize(
    ("record", "bytes_in_it"),
    [
        ("byteorder", b"big"),
        ("version", b"3\n" * 50),
        ("version", b"x"),
        (".format_version", b"-1"),
        (".storage_alignment", b"9" * 5000),
    ],
)
def test_another_record_holds_only_what_torch_writes(
    record: str, bytes_in_it: bytes, good: bytes, forge: SimpleNamespace
) -> None:
    changed = forge.rezipped(good, lambda name, old: bytes_in_it if name == f"archive/{record}" else old)
    with pytest.raises(InputError, match=re.escape(f"record {record} holds something else")):
        read_records(io.BytesIO(changed))


def directory_entry(data: bytes, name: bytes) -> int:
    """Where the directory's entry of a record begins."""
    return data.rindex(name) - 46


def patched(data: bytes, at: int, layout: str, *values: Any) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, at, *values)
    return bytes(changed)


def test_lies_of_the_directory_are_found_out(good: bytes) -> None:
    entry = directory_entry(good, b"archive/data/3")
    lies = {
        "encrypted": patched(good, entry + 8, "<H", 0x809),
        "another flag than in the record": patched(good, entry + 8, "<H", 0x800),
        "another checksum": patched(good, entry + 16, "<L", 1),
        "a size of 4 GB": patched(good, entry + 20, "<2L", 0xFFFFFFFE, 0xFFFFFFFE),
        "a size in a zip64 field that is not there": patched(good, entry + 20, "<2L", 0xFFFFFFFF, 0xFFFFFFFF),
        "one byte less": patched(good, entry + 20, "<2L", *[struct.unpack_from("<L", good, entry + 20)[0] - 1] * 2),
        "packed to less": patched(good, entry + 20, "<L", 1),
        "the place of the record before": patched(
            good, entry + 42, "<L", struct.unpack_from("<L", good, directory_entry(good, b"archive/data/2") + 42)[0]
        ),
        "a place beyond the file": patched(good, entry + 42, "<L", 0xFFFFFFF0),
        "a name of 64 KB": patched(good, entry + 28, "<H", 0xFFFF),
        "an extra field of 64 KB": patched(good, entry + 30, "<H", 0xFFFF),
        "a comment of 64 KB": patched(good, entry + 32, "<H", 0xFFFF),
        "the name of another record": good[: entry + 46] + b"archive/data/9" + good[entry + 60 :],
        "a directory of 2**60 bytes": patched(good, len(good) - END + 40, "<Q", 1 << 60),
        "a directory at 2**63": patched(good, len(good) - END + 48, "<Q", 1 << 63),
        "2**40 entries": patched(good, len(good) - END + 32, "<Q", 1 << 40),
        "a zip64 record elsewhere": patched(good, len(good) - 34, "<Q", 0),
        "a comment": patched(good, len(good) - 2, "<H", 5) + b"12345",
        "bytes before it": b"#!/bin/sh\n" + good,
        "bytes after it": good + b"0",
    }
    for lie, data in lies.items():
        with pytest.raises(InputError):
            print(lie, records_in(data))
    assert records_in(good)


@pytest.mark.parametrize("size", [0, 1, 21, 22, 97, 98, 1000, -1])
def test_a_file_that_is_cut_off_is_refused(size: int, good: bytes) -> None:
    with pytest.raises(InputError, match="not an archive of torch.save, or it is cut off"):
        read_records(io.BytesIO(good[:size]))


def test_every_flipped_byte_of_a_tensor_is_noticed(good: bytes) -> None:
    """By torch's own reader it is not."""
    record = read_records(io.BytesIO(good))["data/0"]
    for at in range(record.start, record.start + record.size):
        with pytest.raises(InputError, match="record data/0 is damaged"):
            records_in(patched(good, at, "<B", good[at] ^ 1))
