import errno
import os
import shutil
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages
from byol_cli.data.sampler import MicroBatch
from byol_cli.data.sources import Splits, Subset
from byol_cli.data.training_crops import Crops
from byol_cli.evaluation.classifier import Reading
from byol_cli.evaluation.evaluator import Evaluator, Subject
from byol_cli.evaluation.feature_cache import FeatureCache, weights_hash
from byol_cli.evaluation.looks import ViewPairs
from byol_cli.evaluation.report import Report
from byol_cli.model.backbones import Backbone
from byol_cli.schema.evaluation import EvaluationConfig, FewLabelConfig, KnnConfig, LinearConfig
from byol_cli.training.runtime import Runtime

SETTINGS: dict[str, Any] = {"image_size": 8, "precision": "bf16", "normalization": {"mean": [0.1], "std": [0.3]}}


def network(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
        ).eval()


def pixels(count: int = 7) -> Tensor:
    return torch.randint(256, (count, 1, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))


def part(images: Tensor | None = None, indices: tuple[int, ...] = (4, 0, 2)) -> Subset:
    array = ArrayImages(images=pixels() if images is None else images, labels=None, class_names=())
    return Subset(array, np.array(indices, dtype=np.int64))


class Extraction:
    """Gives the same features each time, and counts how often it was asked."""

    def __init__(self, dtype: torch.dtype = torch.bfloat16) -> None:
        self.calls = 0
        self.features = torch.randn(3, 5, generator=torch.Generator().manual_seed(1)).to(dtype)

    def __call__(self) -> Tensor:
        self.calls += 1
        return self.features


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def new_cache(tmp_path: Path, said: list[str]) -> Callable[..., FeatureCache]:
    """A cache as another process would open it."""
    return lambda **changes: FeatureCache(tmp_path / "features", settings={**SETTINGS, **changes}, say=said.append)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_features_are_extracted_once_and_come_back_bit_for_bit_in_their_type(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path, dtype: torch.dtype
) -> None:
    extraction = Extraction(dtype)
    first = new_cache()
    assert torch.equal(first(network(), part(), extraction), extraction.features)
    first.say_what_was_reused()
    assert said == []
    second = new_cache()
    again = second(network(), part(), extraction)
    assert again.dtype == dtype
    assert torch.equal(again, extraction.features)
    assert extraction.calls == 1
    second(network(), part(indices=(1, 3, 5)), extraction)
    second.say_what_was_reused()
    assert said == [f"features:      1 of 2 parts from {tmp_path / 'features'}"]
    (file, _) = (tmp_path / "features").iterdir()
    assert file.suffix == ".safetensors"
    assert file.stat().st_size < extraction.features.nbytes + 300


def other_weight() -> nn.Module:
    changed = network()
    with torch.no_grad():
        changed.get_parameter("0.weight")[3, 0, 2, 1] += 1e-6
    return changed


def other_statistics() -> nn.Module:
    changed = network()
    changed.get_buffer("1.running_mean")[2] += 1e-6
    return changed


def other_pixel() -> Tensor:
    changed = pixels()
    changed[6, 0, 3, 3] ^= 1
    return changed


OTHER: dict[str, dict[str, Any]] = {
    "a weight": {"backbone": other_weight()},
    "a statistic of BatchNorm": {"backbone": other_statistics()},
    "a pixel": {"subset": part(other_pixel())},
    "another image": {"subset": part(indices=(4, 0, 3))},
    "another order": {"subset": part(indices=(0, 4, 2))},
    "fewer images": {"subset": part(indices=(4, 0))},
    "image size": {"image_size": 9},
    "precision": {"precision": "fp32"},
    "normalisation": {"normalization": {"mean": [0.1], "std": [0.30000001]}},
    "a new setting": {"resize": 8},
}


@pytest.mark.parametrize("changes", OTHER.values(), ids=OTHER.keys())
def test_whatever_features_depend_on_they_are_extracted_anew_when_it_changes(
    new_cache: Callable[..., FeatureCache], changes: dict[str, Any]
) -> None:
    extraction = Extraction()
    new_cache()(network(), part(), extraction)
    settings = {name: value for name, value in changes.items() if name not in ("backbone", "subset")}
    new_cache(**settings)(changes.get("backbone", network()), changes.get("subset", part()), extraction)
    assert extraction.calls == 2
    new_cache()(network(), part(), extraction)
    assert extraction.calls == 2  # the first is still there


def test_a_network_that_is_trained_on_is_told_from_what_it_was(new_cache: Callable[..., FeatureCache]) -> None:
    cache, backbone, extraction = new_cache(), network(), Extraction()
    cache(backbone, part(), extraction)
    with torch.no_grad():
        backbone.get_parameter("0.bias").add_(1)
    cache(backbone, part(), extraction)
    assert extraction.calls == 2


def test_the_hash_of_weights_is_of_names_types_shapes_and_values_not_of_memory_format() -> None:
    tensor = torch.arange(48.0).view(2, 3, 2, 4)
    plain = nn.ParameterDict({"a": tensor})
    assert weights_hash(plain) == weights_hash(nn.ParameterDict({"a": tensor.to(memory_format=torch.channels_last)}))
    others = {"b": tensor}, {"a": tensor.double()}, {"a": tensor.view(2, 3, 4, 2)}, {"a": tensor.flip(0)}
    hashes = {weights_hash(network) for network in [plain, *map(nn.ParameterDict, others)]}
    assert len(hashes) == 5


def test_images_are_fingerprinted_once_whatever_the_number_of_parts(
    new_cache: Callable[..., FeatureCache], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[ArrayImages] = []
    kept = vars(ArrayImages)["fingerprint"]
    counted = type(kept)(lambda images: asked.append(images) or kept.func(images))
    counted.__set_name__(ArrayImages, "fingerprint")
    monkeypatch.setattr(ArrayImages, "fingerprint", counted)
    cache, images = new_cache(), part().images
    for indices in ([0, 1], [2, 3], [0, 1]):
        cache(network(), Subset(images, np.array(indices)), Extraction())
    assert asked == [images]


def test_damage_to_any_byte_is_seen_told_in_one_line_and_repaired(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path
) -> None:
    extraction, backbone, subset = Extraction(), network(), part()
    new_cache()(backbone, subset, extraction)
    (file,) = (tmp_path / "features").iterdir()
    sound = file.read_bytes()
    damaged = [sound[:length] for length in range(len(sound))]
    damaged += [sound[:at] + bytes([sound[at] ^ 4]) + sound[at + 1 :] for at in range(len(sound))]
    padding = sound.index(b"}}") + 2, sound.index(b"}}") + 10  # spaces up to the next multiple of eight bytes
    for number, content in enumerate(damaged):
        said.clear()
        file.write_bytes(content)
        calls = extraction.calls
        assert torch.equal(new_cache()(backbone, subset, extraction), extraction.features)
        if extraction.calls == calls:
            assert padding[0] <= number - len(sound) < padding[1], "damage that matters went unseen"
            continue
        (line,) = said
        assert str(file) in line
        assert "\n" not in line
        assert file.read_bytes() == sound


def test_a_file_under_the_name_of_another_is_not_taken_for_it(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path
) -> None:
    new_cache()(network(0), part(), Extraction())
    (of_first,) = (tmp_path / "features").iterdir()
    content = of_first.read_bytes()
    of_first.unlink()
    new_cache()(network(1), part(), Extraction())
    (of_second,) = (tmp_path / "features").iterdir()
    of_second.write_bytes(content)
    extraction = Extraction()
    new_cache()(network(1), part(), extraction)
    assert extraction.calls == 1
    assert said == [f"{of_second} is damaged; these features are extracted anew"]


def test_a_folder_that_cannot_be_written_to_is_told_once_and_does_no_harm(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path
) -> None:
    (tmp_path / "features").write_text("a file in its place")
    cache, extraction = new_cache(), Extraction()
    for seed in range(3):
        assert torch.equal(cache(network(seed), part(), extraction), extraction.features)
    (line,) = said
    assert line.startswith(f"features are not kept: {tmp_path / 'features'} cannot be written to (")
    assert (tmp_path / "features").read_text() == "a file in its place"


def test_a_full_disk_leaves_nothing_behind(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(source: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("byol_cli.evaluation.feature_cache.os.replace", full)
    new_cache()(network(), part(), Extraction())
    assert list((tmp_path / "features").iterdir()) == []
    assert "No space left on device" in said[0]


@pytest.fixture(scope="module")
def splits() -> Splits:
    array, labels = load_digits(return_X_y=True)
    images = torch.from_numpy(array * 15).to(torch.uint8).view(-1, 1, 8, 8)
    digits = ArrayImages(images=images, labels=labels.astype(np.int64), class_names=tuple("0123456789"))
    train, selection, test = (Subset(digits, np.arange(start, start + 200)) for start in (0, 200, 400))
    return Splits(
        pretrain=train,
        train=train,
        selection=selection,
        test=test,
        class_names=digits.class_names,
        fingerprint="",
        channels=1,
        bad_images=BadImages(num_images=0, max_share=0, say=print),
    )


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_scores_from_kept_features_are_those_of_fresh_ones_to_the_last_bit(
    new_cache: Callable[..., FeatureCache], splits: Splits, said: list[str], precision: str
) -> None:
    def batches(subset: Subset) -> Iterator[Tensor]:
        assert isinstance(subset.images, ArrayImages)
        yield from (subset.images.images[torch.from_numpy(subset.indices)] / 255).split(64)

    def pairs(subset: Subset) -> Iterator[tuple[Tensor, Tensor]]:
        yield from ((images, images.flip(-1)) for images in batches(subset))

    def no_crops(subset: Subset, batches: Iterable[MicroBatch]) -> Generator[Crops, None, None]:
        raise AssertionError("nothing is trained on crops")

    def report(cache: FeatureCache | None) -> Report:
        evaluator = Evaluator(
            splits=splits,
            config=EvaluationConfig(
                linear=LinearConfig(mode="cached", epochs=3, batch_size=32, learning_rates=[0.1, 0.4]),
                knn=KnnConfig(neighbors=5, temperature=0.07),
                few_label=FewLabelConfig(
                    labels_per_class=5,
                    fractions=[],
                    draws=2,
                    regularization=1.0,
                ),
                logistic=None,
                finetune=None,
                supervised=None,
                retrieval=None,
            ),
            runtime=Runtime(torch.device("cpu"), precision),
            reading=Reading(crops=no_crops, centres=batches, crop_settings={}),
            pairs=ViewPairs(batches=pairs, facts="flipped"),
            seed=0,
            say=said.append,
            cache=cache,
        )
        trained, untrained = (
            Backbone(network(seed), setting="small", in_channels=1, image_size=8).eval() for seed in (0, 1)
        )
        return evaluator.report(
            Subject(trained=trained, untrained=untrained, make_backbone=lambda: untrained, epochs=1),
            record=lambda result: None,
        )

    fresh = report(None)
    assert report(new_cache()) == fresh
    cache = new_cache()
    assert report(cache) == fresh
    cache.say_what_was_reused()
    assert "8 of 8" in said[0]
    summary = fresh.summary()
    assert summary["linear_top1"] != summary["untrained"]["linear_top1"]


def test_other_looks_at_the_same_images_are_kept_apart(new_cache: Callable[..., FeatureCache]) -> None:
    centres, views, other_views = Extraction(), Extraction(), Extraction()
    views.features, other_views.features = -centres.features, centres.features * 2
    for _ in range(2):
        cache = new_cache()
        for extraction, what in ((centres, ""), (views, "views"), (other_views, "other views")):
            assert torch.equal(cache(network(), part(), extraction, what=what), extraction.features)
    assert (centres.calls, views.calls, other_views.calls) == (1, 1, 1)


def test_features_that_would_fill_the_disk_are_not_kept(
    new_cache: Callable[..., FeatureCache], said: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extraction = Extraction()
    free = SimpleNamespace(free=10 * extraction.features.nbytes - 1)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: free)
    new_cache()(network(), part(), extraction)
    assert list((tmp_path / "features").iterdir()) == []
    assert len(said) == 1
    assert said[0].startswith("features are not kept: ")
    free.free += 1
    new_cache()(network(), part(), extraction)
    assert len(list((tmp_path / "features").iterdir())) == 1


def test_features_with_missing_images_serve_only_where_such_are_skipped(
    new_cache: Callable[..., FeatureCache], said: list[str]
) -> None:
    extraction = Extraction()
    extraction.features[1] = torch.nan
    skipping, strict = (
        Subset(SimpleNamespace(fingerprint="same", skips_bad=skips), np.arange(3))  # type: ignore[arg-type]
        for skips in (True, False)
    )
    new_cache()(network(), skipping, extraction)
    cache = new_cache()
    for what in ("", "", "views"):
        kept = cache(
            network(),
            skipping,
            extraction if not what else lambda: extraction.features.repeat_interleave(2, dim=0),
            what=what,
        )
    cache(network(), skipping, extraction, what="views")
    kept = cache(network(), skipping, extraction)
    assert extraction.calls == 1
    assert torch.equal(kept.isnan(), extraction.features.isnan())
    cache.say_what_was_reused()
    assert said[1:] == ["warning: left out, as they could not be read when features were kept: 1 images"]
    new_cache()(network(), strict, extraction)
    assert extraction.calls == 2
