"""Every file below configs/ composes and loads, and the tables of options agree with the files and the code."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.presets import with_preset
from byol_cli.data.build import DATASETS as DATASET_READERS
from byol_cli.losses import LOSSES
from byol_cli.model.backbones import BACKBONES as BACKBONE_BUILDERS
from byol_cli.optim.build import OPTIMIZERS as OPTIMIZER_BUILDERS
from byol_cli.schema.command import EvalConfig, TrainConfig
from byol_cli.schema.dataset import DATASETS
from byol_cli.schema.errors import InputError
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.schema.export import EmbedConfig, ExportConfig
from byol_cli.schema.load import CONFIG_DIR
from byol_cli.schema.model import BACKBONES
from byol_cli.schema.optimizer import OPTIMIZERS

FILES = sorted(CONFIG_DIR.rglob("*.yaml"))
NEEDED = {
    "dataset/image_folder": ["dataset.root=photos"],
    "experiment/image_folder": ["dataset.root=photos"],
    "dataset/shards": ["dataset.root=shards"],
    "experiment/shards": ["dataset.root=shards"],
    "experiment/article": ["dataset.root=photos"],
    "backbone/timm": ["backbone.model=resnet18"],
    "backbone/custom": ["backbone.factory=pkg.mod:build"],
}
COMMANDS: dict[str, tuple[type[Any], list[str]]] = {
    "eval": (EvalConfig, []),
    "export": (ExportConfig, ["format=onnx"]),
    "embed": (EmbedConfig, ["output=features.npz"]),
}


def option(path: Path) -> str:
    return path.relative_to(CONFIG_DIR).with_suffix("").as_posix()


def load_train(*words: str) -> TrainConfig:
    return load_config(TrainConfig, compose_config("train", with_preset(words)))


@pytest.mark.parametrize("path", FILES, ids=option)
def test_every_file_composes_and_loads(path: Path) -> None:
    name = option(path)
    if name in COMMANDS:
        schema, words = COMMANDS[name]
        assert load_config(schema, compose_config(name, ["checkpoint=run", *words])).checkpoint == "run"
        return
    group, _, choice = name.rpartition("/")
    words = [] if name == "train" else [f"{group}={choice}"]
    config = load_train(*words, *NEEDED.get(name, []))
    if group in ("dataset", "backbone", "optimizer", "loss", "ema"):
        assert getattr(config, group).name == choice
    if group == "evaluation":
        measured = [field.name for field in fields(EvaluationConfig) if getattr(config.evaluation, field.name)]
        assert measured == [choice]


@pytest.mark.parametrize(
    ("group", "table"),
    [("dataset", DATASETS), ("backbone", BACKBONES), ("optimizer", OPTIMIZERS), ("loss", LOSSES)],
)
def test_files_and_schema_offer_the_same_options(group: str, table: dict[str, Any]) -> None:
    assert {path.stem for path in (CONFIG_DIR / group).glob("*.yaml")} == set(table)


def test_schema_and_code_offer_the_same_options() -> None:
    assert set(DATASETS) == set(DATASET_READERS)
    assert set(BACKBONES) == set(BACKBONE_BUILDERS)
    assert set(OPTIMIZERS) == set(OPTIMIZER_BUILDERS)


def test_no_file_can_name_code_to_import() -> None:
    assert not [path for path in FILES if "_target_" in path.read_text()]


@pytest.mark.parametrize("dataset", sorted(DATASETS))
def test_a_data_set_brings_the_preset_of_its_name(dataset: str) -> None:
    words = NEEDED.get(f"dataset/{dataset}", [])
    assert load_train(f"dataset={dataset}", *words) == load_train(f"experiment={dataset}", *words)


def test_a_group_chosen_on_the_command_line_wins_over_the_preset() -> None:
    config = load_train("dataset=cifar10", "backbone=resnet50", "optimizer=adamw", "ema.base_tau=0.5")
    assert (config.backbone.name, config.optimizer.name, config.ema.base_tau) == ("resnet50", "adamw", 0.5)
    assert config.augmentation.image_size == 32


# Published values: the paper's section 3.3 and DeepMind's released settings.
@pytest.mark.parametrize(
    ("epochs", "lr", "weight_decay", "base_tau"),
    [(40, 0.45, 1e-6, 0.97), (100, 0.45, 1e-6, 0.99), (300, 0.3, 1e-6, 0.99), (1000, 0.2, 1.5e-6, 0.996)],
)
def test_imagenet_presets_hold_the_published_numbers(
    epochs: int, lr: float, weight_decay: float, base_tau: float
) -> None:
    config = load_train(f"experiment=imagenet_{epochs}")
    assert config.optimizer.name == "lars"
    assert (config.optimizer.lr, config.optimizer.weight_decay) == (lr, weight_decay)
    assert config.optimizer.warmup_fraction is not None
    assert config.optimizer.warmup_fraction * epochs == pytest.approx(10)
    assert (config.ema.base_tau, config.ema.name) == (base_tau, "cosine")
    assert (config.trainer.epochs, config.trainer.batch_size) == (epochs, 4096)
    assert (config.head.hidden_dim, config.head.output_dim, config.head.predictor) == (4096, 256, True)


def test_any_preset_shrinks_to_one_epoch() -> None:
    for path in (CONFIG_DIR / "experiment").glob("*.yaml"):
        words = NEEDED.get(option(path), [])
        assert load_train(f"experiment={path.stem}", "trainer.epochs=1", *words).trainer.epochs == 1


def test_views_of_the_paper_hold_its_numbers() -> None:
    augmentation = load_train("dataset=imagenet").augmentation
    for view in (augmentation.view1, augmentation.view2):
        assert (view.crop.scale, view.crop.ratio) == ((0.08, 1.0), (3 / 4, 4 / 3))
        assert (view.flip.probability, view.grayscale.probability, view.jitter.probability) == (0.5, 0.2, 0.8)
        jitter = view.jitter
        assert (jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue) == (0.4, 0.4, 0.2, 0.1)
        assert (view.blur.sigma, view.solarize.threshold) == ((0.1, 2.0), 0.5)
        assert (view.rotation.probability, view.shear.probability, view.noise.probability) == (0, 0, 0)
    assert (augmentation.view1.blur.probability, augmentation.view2.blur.probability) == (1.0, 0.1)
    assert (augmentation.view1.solarize.probability, augmentation.view2.solarize.probability) == (0.0, 0.2)


def test_the_article_recipe_is_as_the_article_has_it() -> None:
    config = load_train("experiment=article", "dataset.root=photos")
    assert (config.optimizer.name, config.optimizer.lr, config.optimizer.weight_decay) == ("adam", 1e-3, 1e-4)
    assert (config.optimizer.schedule, config.optimizer.scale_lr) == ("constant", "none")
    assert (config.trainer.batch_size, config.trainer.epochs, config.augmentation.image_size) == (64, 10, 224)
    assert (config.head.hidden_dim, config.dataset.normalization, config.loss.name) == (512, "imagenet", "byol")
    view = config.augmentation.view1
    assert view == config.augmentation.view2
    assert (view.crop.probability, view.rotation.probability, view.flip.probability) == (1.0, 1.0, 0.5)
    assert view.jitter.probability == view.grayscale.probability == view.blur.probability == 0


def test_colour_operations_on_gray_images_are_refused_by_name() -> None:
    augmentation = load_train("dataset=cifar10").augmentation
    with pytest.raises(InputError, match=r"augmentation\.view1\.jitter\.saturation=0\.2 needs 3 channels"):
        augmentation.check_channels(1)
    augmentation.check_channels(3)


def test_every_setting_in_the_files_has_its_meaning_beside_it_or_above_it() -> None:
    for path in FILES:
        first = path.read_text().splitlines()[0]
        assert first.startswith("#"), path
        assert yaml.safe_load(path.read_text()) is not None, path
