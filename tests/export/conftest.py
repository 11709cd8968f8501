"""Checkpoint files of backbones that were never trained: weights and statistics are drawn, none left at its start."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.presets import with_preset
from byol_cli.export.trained import TrainedBackbone, open_trained
from byol_cli.schema.command import TrainConfig
from byol_cli.training.saving import Saver
from byol_cli.training.setup import prepare

WORDS = [
    "dataset=synthetic",
    "dataset.num_images=8",
    "dataset.image_size=70",
    "augmentation.image_size=64",
    "augmentation.evaluation_resize=70",
    "head=small",
    "optimizer=sgd",
    "trainer.batch_size=4",
    "trainer.device=cpu",
    "trainer.precision=fp32",
]

Make = Callable[..., TrainedBackbone]


def draw_weights(network: nn.Module, images: torch.Tensor) -> None:
    """Norms and biases that are not all 0 or 1, so that a difference shows where two are exchanged; real statistics."""
    for name, value in network.named_parameters():
        if value.dim() < 4:
            nn.init.normal_(value, mean=1.0 if value.dim() == 1 and name.endswith("weight") else 0.0, std=0.1)
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(images)


def write_checkpoint(folder: Path, *words: str) -> Path:
    """A run folder with one checkpoint, of step 3."""
    config = load_config(TrainConfig, compose_config("train", with_preset([*WORDS, *words])))
    run = prepare(config, say=lambda line: None)
    size = config.augmentation.image_size
    draw_weights(run.state.online.backbone, torch.randn(8, run.splits.channels, size, size))
    run.state.step = 3
    saver = Saver(run, folder / "checkpoints", metrics={}, sync=lambda: None, say=lambda line: None)
    saver.save_and_wait(best=False)
    saver.close()
    return folder


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """The run folder for these overrides, made once."""
    made: dict[tuple[str, ...], Path] = {}

    def make(*words: str) -> Path:
        if words not in made:
            made[words] = write_checkpoint(tmp_path_factory.mktemp("run"), *words)
        return made[words]

    return make


@pytest.fixture(scope="session")
def make_trained(make_run: Callable[..., Path]) -> Make:
    """The backbone for these overrides, read once; tests leave it as it is."""
    made: dict[tuple[str, ...], TrainedBackbone] = {}

    def make(*words: str) -> TrainedBackbone:
        if words not in made:
            made[words] = open_trained(
                make_run(*words), field="checkpoint", factory=None, factory_field="backbone_factory", say=print
            )
        return made[words]

    return make


@pytest.fixture
def some_images() -> Callable[[TrainedBackbone, int], torch.Tensor]:
    """Random images of the size that a backbone takes."""

    def draw(trained: TrainedBackbone, count: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(count)
        return torch.randn(count, trained.channels, trained.image_size, trained.image_size, generator=generator)

    return draw
