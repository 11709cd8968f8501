"""`byol_cli.load_backbone`, as in the README."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import byol_cli
from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.presets import with_preset
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training.saving import Saver
from byol_cli.training.setup import prepare

WORDS = [
    "backbone.widths=[4,8]",
    "backbone.blocks=[1,1]",
    "head.hidden_dim=8",
    "head.output_dim=4",
    "trainer.device=cpu",
    "trainer.precision=fp32",
]
FACTORY = """
from torch import nn

def build():
    return nn.Conv2d(1, 6, 3)
"""


def saved(folder: Path, *words: str) -> Path:
    """A run folder with a checkpoint of step 1."""
    run = prepare(load_config(TrainConfig, compose_config("train", with_preset(words))), say=lambda line: None)
    run.state.step = 1
    saver = Saver(run, folder / "checkpoints", metrics={}, sync=lambda: None, say=lambda line: None)
    saver.save_and_wait(best=False)
    saver.close()
    return folder


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("api") / "run", *WORDS)


def test_five_lines_give_features(run_dir: Path, tmp_path: Path) -> None:
    photo = tmp_path / "photo.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)).save(photo)
    backbone = byol_cli.load_backbone(run_dir)
    images = torch.stack([backbone.transform(photo), backbone.transform(Image.open(photo))])
    with torch.no_grad():
        features = backbone(images)
    assert features.shape == (2, backbone.feature_dim) == (2, 8)
    assert images.shape == (2, 1, 16, 16)
    assert isinstance(backbone, torch.nn.Module)
    assert not any(module.training for module in backbone.modules())


def test_the_weights_are_those_of_the_online_network(run_dir: Path) -> None:
    backbone = byol_cli.load_backbone(run_dir / "checkpoints" / "last.pt")
    online = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)["online"]
    weights = backbone.network.state_dict()
    assert weights
    assert all(torch.equal(value, online[f"backbone.network.{name}"]) for name, value in weights.items())


def test_loading_leaves_torchs_generator_alone(run_dir: Path) -> None:
    before = torch.get_rng_state()
    byol_cli.load_backbone(str(run_dir))
    assert torch.equal(torch.get_rng_state(), before)


def test_what_cannot_be_loaded_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="path=.*gone: neither a checkpoint file nor a run folder"):
        byol_cli.load_backbone(tmp_path / "gone")
    (tmp_path / "x.pt").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"path=.*x\.pt: "):
        byol_cli.load_backbone(tmp_path / "x.pt")


def test_code_of_your_own_must_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_api_module.py").write_text(FACTORY)
    monkeypatch.syspath_prepend(tmp_path)
    factory = "my_api_module:build"
    words = ["backbone=custom", f"backbone.factory={factory}", *WORDS[2:]]
    folder = saved(tmp_path / "run", *words)
    with pytest.raises(InputError, match=f"name it by factory={re.escape(factory)} if you trust it"):
        byol_cli.load_backbone(folder)
    assert byol_cli.load_backbone(folder, factory=factory).feature_dim == 6


def test_a_damaged_checkpoint_is_passed_over_with_a_warning(run_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "checkpoints").mkdir()
    (source,) = (run_dir / "checkpoints").glob("step_*.pt")
    (tmp_path / "checkpoints" / "step_00000001.pt").write_bytes(source.read_bytes())
    (tmp_path / "checkpoints" / "step_00000002.pt").write_bytes(source.read_bytes()[:-100])
    with pytest.warns(UserWarning, match="the checkpoint before it is used"):
        byol_cli.load_backbone(tmp_path)


def test_importing_the_package_does_not_import_torch() -> None:
    code = "import sys, byol_cli; sys.exit('torch' in sys.modules or not hasattr(byol_cli, '__version__'))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_there_is_nothing_else_by_lazy_names() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'load_model'"):
        byol_cli.load_model  # noqa: B018
