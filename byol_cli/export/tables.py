"""Features with their images' paths, splits and labels as one file, written a block at a time."""

import csv
import os
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np

from byol_cli.export.every_image import Columns, EveryImage
from byol_cli.export.extras import require
from byol_cli.export.parts import Parts


class Table:
    """Rows are the images that could be read, in their order."""

    def __init__(self, images: EveryImage, parts: Parts) -> None:
        """`parts` have come to their end."""
        self._images, self._parts = images, parts
        self.rows, self.dim = parts.rows, parts.dim

    @property
    def text_columns(self) -> list[str]:
        """Their names, in their order."""
        return ["path", "split", *(["label"] if self._images.has_labels else [])]

    def text(self) -> Iterator[list[list[str]]]:
        """The text columns, block by block."""
        for places in self._parts.places():
            yield _as_lists(self._images.columns(places))

    def blocks(self) -> Iterator[tuple[list[list[str]], np.ndarray]]:
        """The text columns and float32 features (images, dim), block by block."""
        for places, features in self._parts.blocks():
            yield _as_lists(self._images.columns(places)), features.numpy()


def write_csv(path: Path, table: Table) -> None:
    """Columns path, split, label, then f0, f1, ...; each number in the fewest digits that give it back exactly."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow([*table.text_columns, *(f"f{i}" for i in range(table.dim))])
        for text, features in table.blocks():
            for *words, numbers in zip(*text, features, strict=True):
                writer.writerow([*words, *numbers.astype(str)])


def write_npz(path: Path, table: Table) -> None:
    """Arrays features, path, split and label; `numpy.load(path)` reads them."""
    with zipfile.ZipFile(path, "w", allowZip64=True) as archive:
        with _member(archive, "features", np.dtype("<f4"), (table.rows, table.dim), zipfile.ZIP_STORED) as file:
            for _, features in table.blocks():
                file.write(np.ascontiguousarray(features, dtype="<f4").data)
        for number, name in enumerate(table.text_columns):
            width = max((len(word) for text in table.text() for word in text[number]), default=1)
            kind = np.dtype(f"<U{max(width, 1)}")
            with _member(archive, name, kind, (table.rows,), zipfile.ZIP_DEFLATED) as file:
                for text in table.text():
                    file.write(np.array(text[number], dtype=kind).tobytes())


def write_parquet(path: Path, table: Table) -> None:
    """Columns path, split, label, and features as a list of fixed length; a row group a block."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    features_type = pa.list_(pa.float32(), table.dim)
    schema = pa.schema([*((name, pa.string()) for name in table.text_columns), ("features", features_type)])
    with ParquetWriter(path, schema, use_dictionary=["split", "label"]) as writer:
        for text, features in table.blocks():
            columns = [pa.array(map(_unicode, words), pa.string()) for words in text]
            numbers = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), type=features_type)
            writer.write_table(pa.Table.from_arrays([*columns, numbers], schema=schema))


WRITERS: dict[str, Callable[[Path, Table], None]] = {
    ".npz": write_npz,
    ".parquet": write_parquet,
    ".csv": write_csv,
}


def check_writer(suffix: str, *, setting: str) -> None:
    """Raises InputError where a package for files of this kind is missing; `setting` asks for them."""
    if suffix == ".parquet":
        require("pyarrow", extra="parquet", setting=setting)


def _member(archive: zipfile.ZipFile, name: str, kind: np.dtype, shape: tuple[int, ...], method: int) -> IO[bytes]:
    """A `.npy` file in the archive, its header written; its values are to follow."""
    entry = zipfile.ZipInfo(f"{name}.npy")
    entry.compress_type = method
    file = archive.open(entry, "w", force_zip64=True)
    header = {"descr": np.lib.format.dtype_to_descr(kind), "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file


def _as_lists(columns: Columns) -> list[list[str]]:
    return [list(column) for column in columns if column is not None]


def _unicode(word: str) -> str:
    """Parquet holds UTF-8 alone: bytes of a path that are none are spelt out."""
    return os.fsencode(word).decode(errors="backslashreplace")
