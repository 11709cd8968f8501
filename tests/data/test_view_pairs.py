from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.data.bad_images import BadImages
from byol_cli.data.images import ArrayImages, ImageSet
from byol_cli.data.sources import Sources, Subset
from byol_cli.data.view_pairs import view_pairs
from byol_cli.schema.command import TrainConfig
from byol_cli.views.pipeline import TwoViews

MEAN, STD = torch.tensor([0.2]), torch.tensor([0.5])


@pytest.fixture
def views() -> TwoViews:
    augmentation = load_config(TrainConfig, compose_config("train", [])).augmentation
    return TwoViews(
        view1=augmentation.view1, view2=augmentation.view2, image_size=16, seed=3, formulas=augmentation.formulas
    )


def pairs_of(subset: Subset, views: TwoViews, **changes: Any) -> list[tuple[torch.Tensor, torch.Tensor]]:
    arguments = {
        "batch_size": 4,
        "num_workers": 0,
        "timeout_seconds": 30.0,
        "bad_images": BadImages(num_images=9, max_share=1, say=print),
        "device": torch.device("cpu"),
        "mean": MEAN,
        "std": STD,
    }
    return list(view_pairs(subset, views=views, **{**arguments, **changes}))


def images_in_memory() -> ArrayImages:
    pixels = torch.randint(256, (9, 1, 20, 24), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return ArrayImages(images=pixels, labels=None, class_names=())


def images_in_files(folder: Path) -> ImageSet:
    from byol_cli.data.image_folder import read_image_folder

    for number, pixels in enumerate(images_in_memory().images):
        Image.fromarray(pixels[0].numpy()).save(folder / f"{number}.png")
    config = load_config(
        TrainConfig, compose_config("train", ["dataset=image_folder", f"dataset.root={folder}", "dataset.channels=1"])
    ).dataset
    sources: Sources = read_image_folder(config)  # type: ignore[arg-type]
    return sources.pretrain.images.with_channels(1)


def test_they_are_the_views_that_training_has_of_these_images_in_its_first_epoch(views: TwoViews) -> None:
    images, indices = images_in_memory(), np.array([7, 1, 8, 0, 3])
    found = pairs_of(Subset(images, indices), views)
    assert [len(one) for one, _ in found] == [4, 1]
    crops = views.crops_of_batch(images.images[torch.from_numpy(indices)], epoch=0, indices=indices)
    expected = views.finish(crops, epoch=0, indices=indices, mean=MEAN, std=STD)
    for view, other in zip(zip(*found, strict=True), expected, strict=True):
        torch.testing.assert_close(torch.cat(view), other)
    assert not torch.equal(found[0][0], found[0][1])


@pytest.mark.parametrize("num_workers", [0, 1])
def test_images_in_files_have_the_same_views_whatever_the_workers(
    views: TwoViews, tmp_path: Path, num_workers: int
) -> None:
    indices = np.arange(9)
    in_files = pairs_of(Subset(images_in_files(tmp_path), indices), views, num_workers=num_workers)
    here = pairs_of(Subset(images_in_files(tmp_path), indices), views)
    assert all(torch.equal(*both) for both in zip(sum(in_files, ()), sum(here, ()), strict=True))
    in_memory = pairs_of(Subset(images_in_memory(), indices), views)
    differences = [(one - other).abs().max() for one, other in zip(sum(here, ()), sum(in_memory, ()), strict=True)]
    assert max(differences) < 0.05  # whole values of 255, rounded by other arithmetic
