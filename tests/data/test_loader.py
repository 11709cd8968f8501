import pickle
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as reference

from byol_cli.data import loader, pieces
from byol_cli.data.bad_images import BadImages
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.decode import EXTENSIONS
from byol_cli.data.images import ArrayImages, FileImages
from byol_cli.data.loader import crops_of_files, resident, training_batches
from byol_cli.data.path_table import scan
from byol_cli.data.pieces import Piece
from byol_cli.data.sampler import micro_batches
from byol_cli.data.sources import Subset, whole
from byol_cli.schema.errors import InputError
from byol_cli.views.pipeline import TwoViews

CPU = torch.device("cpu")
MEAN, STD = torch.tensor([0.4, 0.5, 0.6]), torch.tensor([0.2, 0.25, 0.3])
RUN: dict[str, Any] = {
    "seed": 5,
    "batch_size": 10,
    "accumulation_steps": 2,
    "start_step": 0,
    "total_steps": 5,
    "num_workers": 0,
    "timeout_seconds": 60,
    "bad_images": BadImages(num_images=24, max_share=0.5, say=print),
    "device": CPU,
    "mean": MEAN,
    "std": STD,
}
EVALUATION: dict[str, Any] = {
    "resize": 12,
    "image_size": 8,
    "batch_size": 7,
    "num_workers": 0,
    "timeout_seconds": 60,
    "bad_images": BadImages(num_images=24, max_share=0.5, say=print),
    "device": CPU,
    "mean": MEAN,
    "std": STD,
}


@pytest.fixture
def files(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Subset:
    """22 of the 24 photos, handed to workers in pieces of 3."""
    monkeypatch.setattr(pieces, "MAX_IMAGES_IN_A_PIECE", 3)
    images = FileImages(paths=scan([photos], EXTENSIONS), channels=3, labels=None, class_names=(), skips_bad=False)
    return whole(images).take(np.arange(1, 23))


@pytest.fixture
def in_memory() -> Subset:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (30, 3, 10, 12), dtype=np.uint8))
    return whole(ArrayImages(images=pixels, labels=None, class_names=())).take(np.arange(3, 28))


def batches(subset: Subset, views: TwoViews, **changes: Any) -> list[tuple[Tensor, Tensor]]:
    return list(training_batches(subset, views, **{**RUN, **changes}))


def same(first: list[tuple[Tensor, Tensor]], second: list[tuple[Tensor, Tensor]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(a, c) and torch.equal(b, d) for (a, b), (c, d) in pairs)


def test_files_give_the_same_bits_for_any_number_of_workers(files: Subset, views: TwoViews) -> None:
    alone = batches(files, views)
    assert len(alone) == 10
    assert alone[0][0].shape == (5, 3, 8, 8)
    assert alone[0][0].dtype == torch.float32
    for num_workers in (1, 2):
        assert same(alone, batches(files, views, num_workers=num_workers))


def test_the_callers_thread_count_changes_no_bit_of_a_crop(files: Subset, views: TwoViews) -> None:
    one = batches(files, views, total_steps=2)
    torch.set_num_threads(2)
    assert same(one, batches(files, views, total_steps=2))


@pytest.mark.parametrize("num_workers", [0, 2])
def test_a_run_of_files_can_begin_again_at_any_step(files: Subset, views: TwoViews, num_workers: int) -> None:
    for start in (1, 2, 4, 5):
        resumed = batches(files, views, start_step=start, num_workers=num_workers)
        assert same(batches(files, views)[2 * start :], resumed)


def test_a_run_in_memory_can_begin_again_at_any_step(in_memory: Subset, views: TwoViews) -> None:
    everything = batches(in_memory, views)
    for start in range(6):
        assert same(everything[2 * start :], batches(in_memory, views, start_step=start))


@pytest.mark.parametrize("kind", ["files", "in_memory"])
def test_each_view_is_that_of_its_image_made_alone(kind: str, views: TwoViews, request: pytest.FixtureRequest) -> None:
    subset: Subset = request.getfixturevalue(kind)
    order = micro_batches(
        seed=5, num_images=len(subset), batch_size=10, accumulation_steps=2, start_step=0, total_steps=5
    )
    for micro_batch, (view1, view2) in zip(order, batches(subset, views), strict=True):
        for row, position in enumerate(micro_batch.indices):
            index = int(subset.indices[position])
            crops = views.crops_of_batch(
                subset.images.image(index)[None], epoch=micro_batch.epoch, indices=np.array([index])
            )
            if kind == "files":
                crops = views.crops_of([subset.images.image(index)], epoch=micro_batch.epoch, indices=np.array([index]))
            alone = views.finish(crops, epoch=micro_batch.epoch, indices=np.array([index]), mean=MEAN, std=STD)
            assert torch.allclose(view1[row], alone[0][0], atol=1e-5)
            assert torch.allclose(view2[row], alone[1][0], atol=1e-5)


def test_sets_in_memory_start_no_workers(in_memory: Subset, views: TwoViews) -> None:
    before = active_children()
    running = training_batches(in_memory, views, **{**RUN, "num_workers": 4})
    next(running)
    assert active_children() == before


@pytest.mark.parametrize("num_workers", [0, 2])
def test_the_global_generators_stay_untouched(files: Subset, views: TwoViews, num_workers: int) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    batches(files, views, num_workers=num_workers)
    list(evaluation_batches(files, **{**EVALUATION, "num_workers": num_workers}))
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert np.array_equal(np.random.get_state()[1], numpy_before)  # type: ignore[index]


@pytest.mark.parametrize("num_workers", [0, 1])
def test_an_unreadable_image_is_named_in_one_line(
    files: Subset, views: TwoViews, photos: Path, num_workers: int
) -> None:
    damaged = photos / "bee/04.jpg"
    damaged.write_bytes(damaged.read_bytes()[:200])
    with pytest.raises(InputError, match=r"bee/04\.jpg: ") as refused:
        batches(files, views, num_workers=num_workers)
    assert "\n" not in str(refused.value)
    with pytest.raises(InputError, match=r"bee/04\.jpg: "):
        list(evaluation_batches(files, **{**EVALUATION, "num_workers": num_workers}))


def test_waiting_is_measured_and_close_ends_workers_and_batches(files: Subset, views: TwoViews) -> None:
    before = active_children()
    running = training_batches(files, views, **{**RUN, "num_workers": 2})
    assert running.wait_seconds == 0
    next(running)
    assert 0 < running.wait_seconds < 30
    assert len(active_children()) == len(before) + 2
    running.close()
    assert active_children() == before
    assert list(running) == []


def test_a_batch_above_the_data_set_is_refused(files: Subset, views: TwoViews) -> None:
    with pytest.raises(InputError, match=r"trainer.batch_size=24 must not be above the 22 training images"):
        batches(files, views, batch_size=24)


def pillow_centre(image: Tensor, *, resize: int, image_size: int) -> np.ndarray:
    picture = Image.fromarray(image.permute(1, 2, 0).contiguous().numpy())
    short = reference.resize(picture, resize, interpolation=InterpolationMode.BICUBIC)
    return np.asarray(reference.center_crop(short, [image_size, image_size])).transpose(2, 0, 1)


@pytest.mark.parametrize("num_workers", [0, 2])
@pytest.mark.parametrize("kind", ["files", "in_memory"])
def test_evaluation_sees_every_image_once_in_order_as_pillow_does(
    kind: str, num_workers: int, request: pytest.FixtureRequest
) -> None:
    subset: Subset = request.getfixturevalue(kind)
    made = list(evaluation_batches(subset, **{**EVALUATION, "num_workers": num_workers}))
    assert [len(batch) for batch in made] == [7] * (len(subset) // 7) + [len(subset) % 7]
    pixels = torch.cat(made) * STD[:, None, None] + MEAN[:, None, None]
    for row, index in enumerate(subset.indices):
        expected = pillow_centre(subset.images.image(int(index)), resize=12, image_size=8)
        assert np.abs(pixels[row].numpy() * 255 - expected).max() < 1.01  # rounding of one level


def test_images_of_the_right_size_in_memory_are_not_resampled(in_memory: Subset) -> None:
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (9, 3, 8, 8), dtype=np.uint8))
    subset = whole(ArrayImages(images=pixels, labels=None, class_names=()))
    made = torch.cat(list(evaluation_batches(subset, **EVALUATION)))
    assert torch.allclose(made, (pixels.float() / 255 - MEAN[:, None, None]) / STD[:, None, None])


def test_an_empty_subset_has_no_batches(in_memory: Subset) -> None:
    assert list(evaluation_batches(in_memory.take(np.arange(0)), **EVALUATION)) == []


def test_what_workers_get_survives_pickling(files: Subset, views: TwoViews) -> None:
    piece = next(micro_batches(seed=0, num_images=22, batch_size=2, accumulation_steps=1, start_step=0, total_steps=1))
    make: Callable[..., Piece] = partial(crops_of_files, files, views)
    assert torch.equal(pickle.loads(pickle.dumps(make))(piece).pixels, make(piece).pixels)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["spawn", "fork"])
def test_workers_may_be_spawned_or_forked(files: Subset, views: TwoViews, method: str, photos: Path) -> None:
    """In a process of its own, since the way of starting workers is chosen once."""
    script = photos.parent / "train.py"
    script.write_text(
        "import pickle, sys, torch\n"
        "from byol_cli.data.loader import training_batches\n"
        "if __name__ == '__main__':\n"
        "    torch.multiprocessing.set_start_method(sys.argv[1])\n"
        "    torch.set_num_threads(1)\n"
        "    subset, views, run = pickle.load(sys.stdin.buffer)\n"
        "    made = list(training_batches(subset, views, **run))\n"
        "    pickle.dump(made, sys.stdout.buffer)\n"
    )
    given = pickle.dumps((files, views, {**RUN, "num_workers": 2}))
    ended = subprocess.run([sys.executable, str(script), method], input=given, capture_output=True, check=True)
    assert same(pickle.loads(ended.stdout), batches(files, views))


def test_a_worker_draws_in_groups_of_bounded_memory(
    files: Subset, views: TwoViews, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However large the groups are, the crops are the same."""
    piece = next(micro_batches(seed=0, num_images=22, batch_size=9, accumulation_steps=1, start_step=0, total_steps=1))
    together = crops_of_files(files, views, piece).pixels
    drawn: list[int] = []
    crops_of = TwoViews.crops_of

    def watched(self: TwoViews, images: list[Tensor], **where: Any) -> Tensor:
        drawn.append(sum(image.nbytes for image in images) - images[-1].nbytes)
        return crops_of(self, images, **where)

    monkeypatch.setattr(TwoViews, "crops_of", watched)
    monkeypatch.setattr(loader, "GROUP_BYTES", 2000)
    assert torch.equal(crops_of_files(files, views, piece).pixels, together)
    assert len(drawn) > 1
    assert max(drawn) < 2000


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_sets_in_memory_move_to_a_gpu_and_views_come_from_a_stream_of_their_own(
    in_memory: Subset, views: TwoViews
) -> None:
    device = torch.device("cuda")
    assert resident(in_memory.images.images, device).is_cuda  # type: ignore[union-attr]
    on_gpu = batches(in_memory, views, device=device, mean=MEAN.cuda(), std=STD.cuda())
    for made, expected in zip(on_gpu, batches(in_memory, views), strict=True):
        for ours, theirs in zip(made, expected, strict=True):
            # Crops may differ by one level of 255, which is divided by the standard deviation.
            torch.testing.assert_close(ours.cpu(), theirs, atol=0.03, rtol=0)


def test_on_the_cpu_a_set_in_memory_is_not_copied(in_memory: Subset) -> None:
    pixels = in_memory.images.images  # type: ignore[union-attr]
    assert resident(pixels, CPU) is pixels
