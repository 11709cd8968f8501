"""Which data sets surely share no image: schema.dataset.are_apart."""

from pathlib import Path
from typing import Any

import pytest

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.dataset import DatasetConfig, are_apart


def dataset(*words: str) -> DatasetConfig:
    config: Any = load_config(TrainConfig, compose_config("train", list(words)))
    return config.dataset


@pytest.mark.parametrize(
    ("one", "other", "apart"),
    [
        (["dataset=digits"], ["dataset=digits", "dataset.test_fraction=0.5"], False),
        (["dataset=digits"], ["dataset=synthetic"], True),
        (["dataset=digits"], ["dataset=image_folder", "dataset.root=a"], True),
        (["dataset=image_folder", "dataset.root=a"], ["dataset=image_folder", "dataset.root=b"], True),
        (["dataset=image_folder", "dataset.root=a"], ["dataset=image_folder", "dataset.root=./x/../a"], False),
        (["dataset=image_folder", "dataset.root=a"], ["dataset=image_folder", "dataset.root=[b,a/c]"], False),
        (["dataset=image_folder", "dataset.root=a/b"], ["dataset=imagenet", "dataset.root=a"], False),
        (["dataset=image_folder", "dataset.file_list=l.txt"], ["dataset=image_folder", "dataset.root=a"], False),
        (
            ["dataset=image_folder", "dataset.root=b", "dataset.test_root=a"],
            ["dataset=imagenet", "dataset.root=a"],
            False,
        ),
    ],
)
def test_data_sets_are_apart_by_name_or_by_folder(
    one: list[str], other: list[str], apart: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for first, second in ((one, other), (other, one)):
        assert are_apart(dataset(*first), dataset(*second)) == apart
