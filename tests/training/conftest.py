"""Real checkpoints of tiny runs, and files that are made to look like them."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.training.digests import digest_file, sha256_of
from byol_cli.training.saving import Saver
from byol_cli.training.setup import prepare

BACKBONE = ["backbone.widths=[4]", "backbone.blocks=[1]"]
TINY = [
    "head.hidden_dim=6",
    "head.output_dim=4",
    "trainer.batch_size=8",
    "trainer.device=cpu",
    "trainer.precision=fp32",
]


class SavedRun:
    """A run of one step, written to `path` by the writer; `content` is what was written."""

    def __init__(self, folder: Path, *words: str) -> None:
        backbone = [] if any(word.startswith("backbone=") for word in words) else BACKBONE
        config = load_config(TrainConfig, compose_config("train", [*TINY, *backbone, *words]))
        run = prepare(config, say=lambda line: None)
        state, images = run.state, torch.rand(2, 4, 1, *[config.augmentation.image_size] * 2)
        predictions = torch.cat(state.online(images[0], images[1]))
        state.scaler.scale(predictions.square().sum()).backward()
        state.scaler.step(state.optimizer)
        state.scaler.update()
        state.step = 1
        saver = Saver(run, folder, metrics={"train/loss": 4.0}, sync=lambda: None, say=lambda line: None)
        saver.save_and_wait(best=False)
        saver.close()
        self.path, self.content = folder / "last.pt", saver._checkpoint()


@pytest.fixture(scope="session")
def saved_run(tmp_path_factory: pytest.TempPathFactory) -> SavedRun:
    """One for all tests, which copy what they change."""
    return SavedRun(tmp_path_factory.mktemp("run"))


@pytest.fixture
def good(saved_run: SavedRun) -> bytes:
    """The bytes of a checkpoint that is good."""
    return saved_run.path.read_bytes()


@pytest.fixture
def content(saved_run: SavedRun) -> dict[str, Any]:
    """What is in it, to be changed and saved again."""
    return torch.load(saved_run.path, weights_only=True)


def sealed(path: Path, data: bytes) -> Path:
    """A file with its SHA-256 beside it."""
    path.write_bytes(data)
    digest_file(path).write_text(f"{sha256_of(path)}  {path.name}\n")
    return path


def torch_bytes(values: Any) -> bytes:
    """As torch.save writes them."""
    buffer = io.BytesIO()
    torch.save(values, buffer)
    return buffer.getvalue()


def rezipped(data: bytes, change: Callable[[str, bytes], bytes] = lambda name, record: record, **options: Any) -> bytes:
    """The same archive made by Python's zipfile with `options`, each record as `change` makes it, checksums right."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as before, zipfile.ZipFile(buffer, "w", **options) as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return buffer.getvalue()


def with_skeleton(data: bytes, skeleton: bytes) -> bytes:
    """Another pickle in the same archive."""
    return rezipped(data, lambda name, record: skeleton if name.endswith("data.pkl") else record)


@pytest.fixture(scope="session")
def forge() -> SimpleNamespace:
    """The functions above, for tests."""
    return SimpleNamespace(
        saved_run=SavedRun, sealed=sealed, torch_bytes=torch_bytes, rezipped=rezipped, with_skeleton=with_skeleton
    )
