from itertools import islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol_cli.data.sampler import MicroBatch, micro_batches, steps_per_epoch
from byol_cli.schema.errors import InputError
from byol_cli.views.counter import epoch_order

RUN = {"seed": 3, "num_images": 50, "batch_size": 12, "accumulation_steps": 3, "total_steps": 11}


def run(**changes: int) -> list[MicroBatch]:
    return list(micro_batches(**{"start_step": 0, **RUN, **changes}))


def test_an_epoch_visits_each_image_once_and_drops_the_rest() -> None:
    batches = run()
    assert len(batches) == 11 * 3
    assert [batch.step for batch in batches] == [step for step in range(11) for _ in range(3)]
    assert [batch.epoch for batch in batches] == [step // 4 for step in range(11) for _ in range(3)]
    for epoch in (0, 1):
        seen = np.concatenate([batch.indices for batch in batches if batch.epoch == epoch])
        assert np.array_equal(seen, epoch_order(seed=3, epoch=epoch, num_images=50)[:48])
        assert len(set(seen.tolist())) == 48


@given(start=st.integers(0, 11))
@settings(max_examples=12)
def test_a_run_can_begin_again_anywhere(start: int) -> None:
    for whole, resumed in zip(run()[start * 3 :], run(start_step=start), strict=True):
        assert (whole.step, whole.epoch) == (resumed.step, resumed.epoch)
        assert np.array_equal(whole.indices, resumed.indices)


def test_accumulation_shares_the_same_batch_in_order() -> None:
    parts, wholes = run(), run(accumulation_steps=1)
    for step, batch in enumerate(wholes):
        assert np.array_equal(batch.indices, np.concatenate([part.indices for part in parts[3 * step : 3 * step + 3]]))
        assert [len(part.indices) for part in parts[3 * step : 3 * step + 3]] == [4, 4, 4]


def test_seeds_order_the_images_differently() -> None:
    assert not np.array_equal(run()[0].indices, run(seed=4)[0].indices)


def test_starting_late_in_a_long_run_costs_nothing() -> None:
    late = micro_batches(**{**RUN, "start_step": 10**9, "total_steps": 2 * 10**9})
    assert [batch.step for batch in islice(late, 4)] == [10**9] * 3 + [10**9 + 1]


def test_a_batch_above_the_data_set_is_refused() -> None:
    assert steps_per_epoch(num_images=12, batch_size=12) == 1
    with pytest.raises(InputError, match=r"trainer.batch_size=13 must not be above the 12 training images"):
        steps_per_epoch(num_images=12, batch_size=13)
    with pytest.raises(InputError, match=r"trainer.batch_size=51"):
        run(batch_size=51, accumulation_steps=1)
