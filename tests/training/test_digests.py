"""The SHA-256 of a checkpoint, and the list of it that lies beside."""

import io
from pathlib import Path

import pytest

from byol_cli.training.digests import digest_file, listed_digests, sha256_of, sha256_of_file

OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1


def test_the_digest_is_that_of_the_standard(tmp_path: Path) -> None:
    (tmp_path / "abc").write_bytes(b"abc")
    assert sha256_of(tmp_path / "abc") == sha256_of_file(io.BytesIO(b"abc")) == OF_ABC


def test_the_list_lies_beside_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    assert digest_file(path) == tmp_path / "last.pt.sha256"
    assert listed_digests(path) == []
    digest_file(path).write_text("new  last.pt\nold  last.pt\n")
    assert listed_digests(path) == ["new", "old"]


@pytest.mark.parametrize("damaged", [b"", b"\n\n", b"\xff\0\xfe", b" \n", b"a" * 10_000_000])
def test_a_damaged_list_lists_nothing_that_fits(damaged: bytes, tmp_path: Path) -> None:
    digest_file(tmp_path / "last.pt").write_bytes(damaged)
    assert OF_ABC not in listed_digests(tmp_path / "last.pt")
    assert sum(map(len, listed_digests(tmp_path / "last.pt"))) < 100_000
