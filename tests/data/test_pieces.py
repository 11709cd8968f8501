import time
from collections.abc import Generator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from byol_cli.data.pieces import MAX_IMAGES_IN_A_PIECE, TimedPieces, join_pieces, split_into_pieces
from byol_cli.data.worker_count import PIECE_BYTES

CPU = torch.device("cpu")


@given(num_images=st.integers(1, 500), image_bytes=st.integers(1, 3 * PIECE_BYTES))
def test_pieces_are_the_batch_in_order_and_small(num_images: int, image_bytes: int) -> None:
    pieces = split_into_pieces(np.arange(num_images), image_bytes=image_bytes)
    assert np.array_equal(np.concatenate(pieces), np.arange(num_images))
    longest = max(map(len, pieces))
    assert longest <= MAX_IMAGES_IN_A_PIECE
    assert longest == 1 or longest * image_bytes <= PIECE_BYTES


@given(num_images=st.integers(1, 40), length=st.integers(1, 40), leading=st.booleans())
def test_joined_pieces_are_the_batches_that_were_split(num_images: int, length: int, leading: bool) -> None:
    shape = (2, num_images, 3, 4, 4) if leading else (num_images, 3, 4, 4)
    batches = [torch.randint(0, 256, shape, dtype=torch.uint8) for _ in range(2)]
    pieces = iter([piece for batch in batches for piece in batch.split(length, dim=-4)])
    for batch in batches:
        assert torch.equal(join_pieces(pieces, num_images=num_images, device=CPU), batch)
    assert next(pieces, None) is None


def test_waiting_counts_and_the_time_between_does_not() -> None:
    def slow() -> Generator[Tensor, None, None]:
        time.sleep(0.05)
        yield torch.zeros(1)

    pieces = TimedPieces(slow())
    assert pieces.seconds == 0
    next(pieces)
    waited = pieces.seconds
    assert waited >= 0.05
    time.sleep(0.02)
    assert pieces.seconds == waited
    with pytest.raises(StopIteration):
        next(pieces)
