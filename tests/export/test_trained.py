"""What a checkpoint says of its run's images, and what it may not choose."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import yaml

from byol_cli.export.trained import TrainedBackbone
from byol_cli.schema.command import OPTIONS
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.load import CONFIG_DIR, load

SMALL = ("backbone=resnet_small", "backbone.widths=[4,8]", "backbone.blocks=[1,1]")


@pytest.mark.parametrize(
    ("name", "changes", "kept"),
    [
        ("cifar10", {"download": True}, {"download": False}),
        ("image_folder", {"root": "photos", "cache": "disk"}, {"cache": None}),
    ],
)
def test_a_checkpoint_downloads_nothing_and_chooses_no_folder_to_write_in(
    make_trained: Callable[..., TrainedBackbone], name: str, changes: dict[str, Any], kept: dict[str, Any]
) -> None:
    values = yaml.safe_load((CONFIG_DIR / "dataset" / f"{name}.yaml").read_text())
    dataset = load(DatasetConfig, {**values, **changes}, OPTIONS)
    trained = make_trained(*SMALL)
    other = replace(trained, config=replace(trained.config, dataset=dataset))
    assert other.dataset == replace(dataset, **kept)


def test_the_untrained_network_is_the_one_that_the_run_began_with(
    make_trained: Callable[..., TrainedBackbone],
) -> None:
    from byol_cli.training.setup import prepare

    trained = make_trained(*SMALL)
    before = torch.get_rng_state()
    untrained = trained.untrained().state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    began = prepare(trained.config, say=lambda line: None).state.online.backbone.state_dict()
    assert untrained.keys() == began.keys()
    assert all(torch.equal(value, began[name]) for name, value in untrained.items())
