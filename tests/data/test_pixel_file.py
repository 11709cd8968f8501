from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.data.pixel_file import PixelFile, is_whole, pack, write_pixels

KEY = "5a" * 32
SIZES = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=12)


def images_of(sizes: list[tuple[int, int]], channels: int) -> list[torch.Tensor]:
    rng = np.random.default_rng(len(sizes))
    return [torch.from_numpy(rng.integers(0, 256, (channels, *size), dtype=np.uint8)) for size in sizes]


def write(path: Path, images: list[torch.Tensor], piece: int = 3) -> None:
    packed = [pack(images[start : start + piece]) for start in range(0, len(images), piece)]
    with open(path, "wb") as file:
        write_pixels(file, packed, key=KEY, num_images=len(images), channels=len(images[0]))


@given(sizes=SIZES, channels=st.integers(1, 4), piece=st.integers(1, 5))
def test_images_come_back_as_they_went_in(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[tuple[int, int]], channels: int, piece: int
) -> None:
    path = tmp_path_factory.mktemp("pixels") / "file"
    images = images_of(sizes, channels)
    write(path, images, piece)
    assert path.stat().st_size == 64 + sum(16 + image.numel() for image in images)
    stored = PixelFile(path, key=KEY)
    for index, image in enumerate(images):
        assert torch.equal(stored.image(index), image)


def test_only_the_whole_file_with_its_own_key_counts(tmp_path: Path) -> None:
    path = tmp_path / "file"
    assert not is_whole(path, key=KEY)
    write(path, images_of([(3, 4), (5, 6)], 3))
    content = path.read_bytes()
    assert is_whole(path, key=KEY)
    assert not is_whole(path, key="5b" * 32)
    for length in (0, 10, 63, 64, 100, len(content) - 1):
        path.write_bytes(content[:length])
        assert not is_whole(path, key=KEY)


def test_a_file_is_none_before_its_last_write(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def stop_halfway() -> Iterator[torch.Tensor]:
        yield pack(images_of([(3, 4)], 3))
        raise KeyboardInterrupt

    with open(path, "wb") as file, suppress(KeyboardInterrupt):
        write_pixels(file, stop_halfway(), key=KEY, num_images=2, channels=3)
    assert path.stat().st_size > 64
    assert not is_whole(path, key=KEY)
