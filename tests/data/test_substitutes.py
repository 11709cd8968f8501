"""Training on another image in place of one that cannot be read, measuring without it."""

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from byol_cli.data import cache_build, pieces
from byol_cli.data.bad_images import BadImage, BadImages
from byol_cli.data.cache import CachedImages, cached
from byol_cli.data.centre_crops import evaluation_batches, is_missing
from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.images import FileImages
from byol_cli.data.loader import training_batches
from byol_cli.data.path_table import scan
from byol_cli.data.sampler import micro_batches
from byol_cli.data.sources import Subset
from byol_cli.data.substitutes import MAX_TRIES, image_or_substitute, substitutes
from byol_cli.schema.errors import InputError
from byol_cli.views.pipeline import TwoViews

CPU = torch.device("cpu")
MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
BAD = (2, 7, 8, 15)
Writer = Callable[..., Path]


@pytest.fixture
def files(photos: Path, monkeypatch: pytest.MonkeyPatch) -> FileImages:
    """24 photos, four of them unreadable, handed to workers in pieces of 3."""
    monkeypatch.setattr(pieces, "MAX_IMAGES_IN_A_PIECE", 3)
    images = FileImages(
        paths=scan([photos], EXTENSIONS),
        channels=3,
        labels=np.arange(24) % 3,
        class_names=("a", "b", "c"),
        skips_bad=True,
    )
    for index in BAD:
        Path(images.paths[index]).write_bytes(b"" if index % 2 else b"no image")
    return images


@pytest.fixture
def subset(files: FileImages) -> Subset:
    """22 of them."""
    return Subset(files, np.arange(1, 23))


def registry() -> BadImages:
    return BadImages(num_images=24, max_share=0.5, say=lambda _: None)


def train(subset: Subset, views: TwoViews, **changes: Any) -> list[tuple[Tensor, Tensor]]:
    run: dict[str, Any] = {
        "seed": 5,
        "batch_size": 10,
        "accumulation_steps": 2,
        "start_step": 0,
        "total_steps": 5,
        "num_workers": 0,
        "timeout_seconds": 60,
        "bad_images": registry(),
        "device": CPU,
        "mean": MEAN,
        "std": STD,
    }
    return list(training_batches(subset, views, **{**run, **changes}))


def measure(subset: Subset, **changes: Any) -> Tensor:
    how: dict[str, Any] = {
        "resize": 12,
        "image_size": 8,
        "batch_size": 7,
        "num_workers": 0,
        "timeout_seconds": 60,
        "bad_images": registry(),
        "device": CPU,
        "mean": MEAN,
        "std": STD,
    }
    return torch.cat(list(evaluation_batches(subset, **{**how, **changes})))


def same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in zip(first, second, strict=True))


def splitmix(words: list[int]) -> int:
    """The documented hash, in plain Python."""
    state = 0
    for word in words:
        state = ((state ^ word) + 0x9E3779B97F4A7C15) % 2**64
        state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
        state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
        state ^= state >> 31
    return state


def stand_in(index: int, members: list[int]) -> int:
    """What should be trained on at `index`, the slow and obvious way."""
    tries = iter(range(1000))
    while index in BAD:
        first = index
        index = next(
            candidate
            for candidate in (members[splitmix([4, first, number]) % len(members)] for number in tries)
            if candidate not in BAD
        )
    return index


def test_substitutes_are_those_of_a_slow_reference(subset: Subset) -> None:
    members = subset.indices.tolist()
    for index in range(24):
        image, bad = image_or_substitute(subset, index)
        assert torch.equal(image, subset.images.image(stand_in(index, members)))
        assert (index in bad) == (index in BAD)
        assert set(bad) <= set(BAD)
    assert {stand_in(index, members) for index in BAD} <= set(members)
    assert len({stand_in(index, members) for index in BAD}) > 1


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_slot_keeps_its_draws_whatever_image_stands_in_it(subset: Subset, views: TwoViews, num_workers: int) -> None:
    order = micro_batches(
        seed=5, num_images=len(subset), batch_size=10, accumulation_steps=2, start_step=0, total_steps=5
    )
    made = train(subset, views, num_workers=num_workers)
    for batch, (view1, view2) in zip(order, made, strict=True):
        indices = subset.indices[batch.indices]
        images = [subset.images.image(stand_in(int(index), subset.indices.tolist())) for index in indices]
        crops = views.crops_of(images, epoch=batch.epoch, indices=indices)
        expected = views.finish(crops, epoch=batch.epoch, indices=indices, mean=MEAN, std=STD)
        assert torch.equal(view1, expected[0])
        assert torch.equal(view2, expected[1])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_substitutes_are_the_same_when_begun_again_at_any_step(
    subset: Subset, views: TwoViews, num_workers: int
) -> None:
    everything = train(subset, views)
    for start in (1, 3):
        assert same(everything[2 * start :], train(subset, views, start_step=start, num_workers=num_workers))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_bad_images_are_reported_from_wherever_they_are_read(
    subset: Subset, views: TwoViews, tmp_path: Path, num_workers: int
) -> None:
    lists = []
    for name, use in (
        ("train", lambda **how: train(subset, views, **how)),
        ("measure", lambda **how: measure(subset, **how)),
    ):
        bad = registry()
        bad.keep_in(tmp_path / name)
        use(bad_images=bad, num_workers=num_workers)
        assert bad.count == len(BAD)
        lists.append({line.split("\t")[0] for line in (tmp_path / name).read_text().splitlines()})
    assert lists[0] == lists[1] == {subset.images.paths[index] for index in BAD}  # type: ignore[attr-defined]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_too_many_end_the_pass(subset: Subset, views: TwoViews, num_workers: int) -> None:
    for use in (lambda **how: train(subset, views, **how), lambda **how: measure(subset, **how)):
        few = BadImages(num_images=24, max_share=3 / 24, say=lambda _: None)
        with pytest.raises(InputError, match=r"4 of 24 images cannot be read so far, .*max_bad_images=0\.125"):
            use(bad_images=few, num_workers=num_workers)


def test_where_no_substitute_can_be_read_the_image_is_named(files: FileImages) -> None:
    only_bad = Subset(files, np.array(BAD))
    with pytest.raises(InputError, match=rf"{files.paths[2]}: .*; nor can {MAX_TRIES} images"):
        image_or_substitute(only_bad, 2)
    assert set(substitutes(only_bad, 2)) == set(BAD)


@pytest.mark.parametrize("num_workers", [0, 2])
def test_measurements_get_no_other_image_in_a_bad_ones_place(subset: Subset, num_workers: int) -> None:
    made = measure(subset, num_workers=num_workers)
    missing = is_missing(made)
    assert torch.equal(missing, torch.tensor([index in BAD for index in subset.indices.tolist()]))
    assert made[missing].isnan().all()
    whole = Subset(replace(subset.images, skips_bad=False), subset.indices[~missing.numpy()])  # type: ignore[type-var]
    assert torch.equal(made[~missing], measure(whole))


def test_where_bad_images_are_errors_the_first_is_named(files: FileImages, views: TwoViews) -> None:
    strict = Subset(replace(files, skips_bad=False), np.arange(24))
    for use in (lambda: train(strict, views), lambda: measure(strict), lambda: image_or_substitute(strict, 2)):
        with pytest.raises(BadImage, match=r"\d\d\.\w+: "):
            use()


def test_the_policy_travels_to_workers_and_through_changes(files: FileImages) -> None:
    changed = [files.with_channels(1), files.without_labels(), pickle.loads(pickle.dumps(files))]
    assert all(images.skips_bad for images in changed)
    error = pickle.loads(pickle.dumps(BadImage("a/b.png", "torn")))
    assert (error.path, error.reason, str(error)) == ("a/b.png", "torn", "a/b.png: torn")


@pytest.fixture
def build(
    config_of: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., CachedImages]:
    monkeypatch.setattr(cache_build, "_in_memory", {})

    def make(images: FileImages, cache: str, bad: BadImages | None = None) -> CachedImages:
        config = config_of("image_folder", root="x", cache=cache, cache_dir=tmp_path / "cache", cache_short_side=9)
        return cached(images, config, bad_images=bad or registry(), timeout_seconds=60, log=lambda _: None)

    return make


@pytest.mark.parametrize("cache", ["disk", "ram"])
def test_a_cache_is_built_without_bad_images_and_names_them_when_they_are_asked_for(
    files: FileImages, build: Callable[..., CachedImages], views: TwoViews, cache: str
) -> None:
    bad = registry()
    kept = build(files, cache, bad)
    assert bad.count == len(BAD)
    for index in range(24):
        if index in BAD:
            with pytest.raises(BadImage, match="could not be read when the cache .* was built") as refused:
                kept.image(index)
            assert refused.value.path == files.paths[index]
        else:
            assert min(kept.image(index).shape[1:]) <= 10
    subset = Subset(kept, np.arange(1, 23))
    plain = Subset(files, np.arange(1, 23))
    assert torch.equal(is_missing(measure(subset)), is_missing(measure(plain)))
    known = registry()
    train(subset, views, bad_images=known, num_workers=1)
    assert known.count == len(BAD)
    found = build(replace(files, skips_bad=False), cache)  # a run that takes bad images for errors finds it too
    with pytest.raises(BadImage, match="could not be read when the cache .* was built"):
        measure(Subset(found, np.arange(24)))
    assert torch.equal(found.image(0), kept.image(0))


def test_a_cache_in_building_stops_above_the_limit(files: FileImages, build: Callable[..., CachedImages]) -> None:
    few = BadImages(num_images=24, max_share=3 / 24, say=lambda _: None)
    with pytest.raises(InputError, match="4 of 24 images cannot be read"):
        build(files, "disk", few)


def test_a_repaired_file_makes_another_cache(
    files: FileImages, build: Callable[..., CachedImages], write_image: Writer
) -> None:
    before = build(files, "disk")
    write_image(Path(files.paths[2]), 3, size=(20, 20))
    again = FileImages(paths=files.paths, channels=3, labels=None, class_names=(), skips_bad=True)
    after = build(again, "disk")
    assert after.image(2).shape == (3, 9, 9)
    assert after.fingerprint != before.fingerprint
