"""The commands on shards: training as on the folder, exact resume, byol-embed, and what must be typed again."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import make_shards
import numpy as np
import pytest
import torch
from PIL import Image
from tortures.failing_server import FailingServer

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.named_again import refuse_what_is_not_named_again, resume_command
from byol_cli.data import remote
from byol_cli.export.trained import only_read
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.dataset import ShardsConfig
from byol_cli.schema.errors import InputError
from byol_cli.training import pretrain
from byol_cli.training.console import Progress

Command = Callable[..., Any]
SMALL = (
    "augmentation.image_size=16 augmentation.evaluation_resize=16 backbone=resnet_small backbone.widths=[4,8] "
    "backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 optimizer=sgd trainer.device=cpu trainer.batch_size=8 "
    "trainer.steps=5 trainer.probe_every_epochs=9 dataset.selection_fraction=0.1 "
    "dataset.test_fraction=0.1 evaluation=[]"
).split()


@pytest.fixture(autouse=True)
def shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """40 photos in two classes, and the same in shards."""
    monkeypatch.chdir(tmp_path)
    for name in ("save_curves", "save_views"):
        monkeypatch.setattr(pretrain, name, lambda *_: None)
    rng = np.random.default_rng(0)
    for number in range(40):
        path = Path("photos") / ("ant", "bee")[number % 2] / f"{number:02d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (18 + number % 5, 20, 3), dtype=np.uint8)).save(path)
    assert make_shards.main("photos shards --shard-size 20kB --workers 1".split()) == 0
    return tmp_path / "shards"


def weights(run: str) -> list[torch.Tensor]:
    checkpoint = torch.load(Path(run) / "checkpoints" / "last.pt", weights_only=True)
    return [*checkpoint["online"].values(), *checkpoint["target"].values()]


def same(one: str, other: str) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


def trained(byol_train: Command, run: str, *words: str) -> Any:
    ended = byol_train(*words, *SMALL, f"hydra.run.dir={run}")
    assert ended.code == 0, ended.err
    return ended


def test_training_is_that_of_the_folder_and_resumes_exactly(
    byol_train: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("dataset=shards", "dataset.root=shards")
    trained(byol_train, "folder", "dataset=image_folder", "dataset.root=photos", "trainer.num_workers=0")
    trained(byol_train, "whole", *words, "trainer.num_workers=2")
    assert same("folder", "whole")
    with monkeypatch.context() as patch:
        advance, steps = Progress.advance, []

        def advance_and_stop(self: Progress, images: int) -> None:
            advance(self, images)
            steps.append(images)
            if len(steps) == 3:
                os.kill(os.getpid(), 15)

        patch.setattr(Progress, "advance", advance_and_stop)
        assert byol_train(*words, *SMALL, "trainer.num_workers=1", "hydra.run.dir=cut").code == 75
    Path("shards").rename("moved")
    ended = byol_train("resume=cut")
    assert ended.code == 2
    assert ended.err.startswith("byol-train: ")
    ended = byol_train("resume=cut", "dataset.root=moved", "trainer.num_workers=0")
    assert ended.code == 0, ended.err
    assert same("cut", "whole")


@pytest.mark.slow
def test_training_from_a_server_that_fails_is_that_of_the_folder(
    byol_train: Command, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(remote, "FIRST_WAIT_SECONDS", 0.002)
    monkeypatch.setattr(remote, "TIMEOUT_SECONDS", 0.2)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    trained(byol_train, "folder", "dataset=image_folder", "dataset.root=photos", "trainer.num_workers=0")
    with FailingServer(shards, ("503", "hang", "short", "drop")) as server:
        words = ("dataset=shards", f"dataset.root={server.url}")
        trained(byol_train, "far", *words, "trainer.num_workers=1", "dataset.shards_max_gb=5e-5")
        assert server.parts_asked("shard-000013.tar") > 0
    assert 0 < len(list(Path("data/shards").glob("*.shard"))) < 10
    assert same("folder", "far")
    assert all(server.given[fault] for fault in ("503", "hang", "short", "drop"))


def test_faults_end_with_one_line(byol_train: Command, shards: Path) -> None:
    (shards / "shard-000001.tar").unlink()
    ended = byol_train("dataset=shards", "dataset.root=shards", *SMALL)
    assert (ended.code, ended.err) == (2, "byol-train: shards/shard-000001.tar is missing\n")
    ended = byol_train("dataset=shards", *SMALL)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert "dataset.root: name the shards by dataset.root=FOLDER, a URL, or a pattern in quotes" in ended.err


def test_an_image_that_was_damaged_is_skipped_or_ends_the_run(byol_train: Command, shards: Path) -> None:
    shard = shards / "shard-000001.tar"
    data = bytearray(shard.read_bytes())
    with np.load(shards / "index.npz") as index:
        damaged = int(index["starts"][1]) + 1
        data[int(index["offsets"][damaged]) + 100] ^= 1
        name = index["names"][index["name_offsets"][damaged] : index["name_offsets"][damaged + 1]].tobytes().decode()
    shard.write_bytes(data)
    words = ("dataset=shards", "dataset.root=shards", "trainer.num_workers=0")
    ended = byol_train(*words, *SMALL)
    assert (ended.code, f"shards/shard-000001.tar/{name}: the shard was changed" in ended.err) == (2, True), ended.err
    trained(byol_train, "run", *words, "dataset.on_bad_image=skip", "dataset.max_bad_images=0.1")
    assert name in Path("run/bad_images.txt").read_text()


def test_embeddings_carry_the_names_in_the_shards(byol_train: Command, byol_embed: Command) -> None:
    trained(byol_train, "run", "dataset=shards", "dataset.root=shards", "trainer.num_workers=0")
    before = set(Path().rglob("*"))
    ended = byol_embed("checkpoint=run", "device=cpu", "num_workers=0", "output=features.npz")
    assert ended.code == 0, ended.err
    with np.load("features.npz") as made:
        names, features = made["path"].tolist(), made["features"]
    assert names == sorted(str(path.relative_to("photos")) for path in Path("photos").rglob("*.png"))
    assert {path.name for path in set(Path().rglob("*")) - before} == {"features.npz"}, "an untyped root writes nothing"
    words = ("dataset=image_folder", "dataset.root=photos", "dataset.test_fraction=0.1")
    ended = byol_embed("checkpoint=run", "device=cpu", "num_workers=0", "output=folder.npz", *words)
    assert ended.code == 0, ended.err
    with np.load("folder.npz") as made:
        assert np.array_equal(made["features"], features)


def stored(*words: str) -> TrainConfig:
    config = load_config(TrainConfig, compose_config("train", ["dataset=shards", "experiment=shards", *words]))
    assert isinstance(config, TrainConfig)
    return config


@pytest.mark.parametrize("field", ["root", "test_root"])
def test_a_url_is_read_only_where_it_is_typed_again(field: str) -> None:
    words = {"root": "shards", field: "http://somewhere/shards"}
    config = stored(*(f"dataset.{key}={value}" for key, value in words.items()))
    named = rf"reads its images from a URL: name it again by dataset\.{field}=http://somewhere/shards if you trust it"
    with pytest.raises(InputError, match=named):
        refuse_what_is_not_named_again(config, ["resume=run"])
    refuse_what_is_not_named_again(config, ["resume=run", f"dataset.{field}=http://elsewhere/shards"])
    assert resume_command(Path("run"), config) == f"byol-train resume=run dataset.{field}=http://somewhere/shards"
    with pytest.raises(
        InputError, match=rf"images lie at http://somewhere/shards: type dataset=shards dataset\.{field}="
    ):
        only_read(config.dataset)


def test_a_folder_to_write_in_is_typed_again_and_otherwise_not_written() -> None:
    config = stored("dataset.root=shards", "dataset.shards_dir=theirs")
    with pytest.raises(InputError, match=r"keeps shards in a folder of its own: name it again by dataset\.shards_dir"):
        refuse_what_is_not_named_again(config, ["resume=run"])
    refuse_what_is_not_named_again(config, ["resume=run", "dataset.shards_dir=theirs"])
    unwritten = only_read(config.dataset)
    assert isinstance(unwritten, ShardsConfig)
    assert (unwritten.shards_max_gb, unwritten.cache) == (0, None)
