import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from byol_cli.views.counter import Domain, epoch_order, hash64, noise_keys, uniforms

WORDS = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=6)


def one_hash(words: list[int]) -> int:
    """The same hash in Python's own integers."""
    state = 0
    for word in words:
        state = ((state ^ word) + 0x9E3779B97F4A7C15) % 2**64
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB % 2**64
        state ^= state >> 31
    return state


@given(WORDS)
def test_hash_equals_its_definition_in_exact_integers(words: list[int]) -> None:
    assert int(hash64(*words)) == one_hash(words)


def test_hash_of_one_word_is_splitmix64() -> None:
    # The first output of splitmix64 seeded with 0 and with 1234567, as its published implementations give them.
    assert int(hash64(0)) == 0xE220A8397B1DCDAF
    assert int(hash64(1234567)) == 6457827717110365317


@given(WORDS, st.integers(0, 63), st.data())
def test_one_changed_bit_changes_about_half_of_the_bits(words: list[int], bit: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, len(words) - 1))
    changed = [word ^ (1 << bit) if number == place else word for number, word in enumerate(words)]
    assert 8 <= bin(int(hash64(*words)) ^ int(hash64(*changed))).count("1") <= 56


def test_draws_never_change_between_releases() -> None:
    drawn = uniforms(seed=7, epoch=3, indices=np.array([0, 123_456]), view=1, num_slots=3)
    assert drawn.tolist() == [
        [0.8704062987264548, 0.5254852777610417, 0.2795007304537658],
        [0.28911304254562753, 0.15985982717687441, 0.35780428834468725],
    ]
    assert epoch_order(seed=7, epoch=3, num_images=10).tolist() == [3, 6, 5, 9, 8, 4, 2, 0, 1, 7]
    assert noise_keys(seed=7, epoch=3, indices=np.array([5]), view=0).tolist() == [-6638913680782595199]


def test_one_sample_alone_draws_what_it_draws_in_a_batch() -> None:
    indices = np.array([4, 0, 9_999_999_999, 4])
    together = uniforms(seed=2**63 - 1, epoch=5, indices=indices, view=1, num_slots=40)
    for index, row in zip(indices, together, strict=True):
        alone = uniforms(seed=2**63 - 1, epoch=5, indices=np.array([index]), view=1, num_slots=40)
        np.testing.assert_array_equal(alone[0], row)
        np.testing.assert_array_equal(
            uniforms(seed=2**63 - 1, epoch=5, indices=np.array([index]), view=1, num_slots=3)[0], row[:3]
        )


def test_draws_are_uniform_in_every_slot() -> None:
    drawn = uniforms(seed=1, epoch=0, indices=np.arange(20_000), view=0, num_slots=12)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    for slot in drawn.T:
        assert chisquare(np.bincount((slot * 64).astype(int), minlength=64)).pvalue > 1e-4


def test_draws_are_uncorrelated_between_slots_samples_views_epochs_and_seeds() -> None:
    indices = np.arange(20_000)

    def first(seed: int = 1, epoch: int = 0, view: int = 0) -> np.ndarray:
        return uniforms(seed=seed, epoch=epoch, indices=indices, view=view, num_slots=8)

    drawn = first()
    columns = [*drawn.T, np.roll(drawn[:, 0], 1), first(view=1)[:, 0], first(epoch=1)[:, 0], first(seed=2)[:, 0]]
    correlations = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlations).max() < 4.5 / np.sqrt(len(indices))


@given(seed=st.integers(0, 2**63 - 1), epoch=st.integers(0, 10_000), num_images=st.integers(1, 300))
def test_an_epoch_visits_every_image_once(seed: int, epoch: int, num_images: int) -> None:
    order = epoch_order(seed=seed, epoch=epoch, num_images=num_images)
    assert order.dtype == np.int64
    assert sorted(order.tolist()) == list(range(num_images))


def test_every_place_of_the_order_is_equally_likely_for_every_image() -> None:
    orders = np.stack([epoch_order(seed=3, epoch=epoch, num_images=8) for epoch in range(4_000)])
    for place in orders.T:
        assert chisquare(np.bincount(place, minlength=8)).pvalue > 1e-4


@pytest.mark.parametrize("changed", [{"seed": 1}, {"epoch": 1}])
def test_order_depends_on_seed_and_epoch(changed: dict[str, int]) -> None:
    words = {"seed": 0, "epoch": 0}
    assert (epoch_order(**words, num_images=100) != epoch_order(**(words | changed), num_images=100)).any()


def test_orders_draws_and_noise_come_from_different_domains() -> None:
    assert len({int(hash64(domain, 1, 2, 3)) for domain in Domain}) == len(Domain)
