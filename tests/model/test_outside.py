"""Backbones from timm and from the user's own module, and every refusal."""

import sys
from pathlib import Path

import pytest
import torch

from byol_cli.model.backbones import Backbone, build_backbone
from byol_cli.schema.errors import InputError


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module `my_networks` in the current folder, which is not on the path."""
    (tmp_path / "my_networks.py").write_text(
        """
from torch import nn

def flat():
    return nn.Sequential(nn.Flatten(), nn.LazyLinear(7))

def channels(in_channels, width=5):
    return nn.Sequential(nn.Conv2d(in_channels, width, 3), nn.ReLU())

class Network(nn.Module):
    def __init__(self, in_channels):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, 6, 3)

    def forward(self, images):
        return self.conv(images)

def number():
    return 3

def broken():
    raise ValueError("no such\\nluck")

def greedy(depth):
    return nn.Identity()

def cannot_take_images():
    return nn.Linear(3, 4)

existing = nn.Linear(2, 2)
text = "resnet"
"""
    )
    (tmp_path / "needs_another.py").write_text("import a_package_that_nobody_has")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry not in ("", str(tmp_path))])
    monkeypatch.setattr(sys, "modules", dict(sys.modules))
    return "my_networks"


def custom(factory: str, in_channels: int = 2) -> Backbone:
    return build_backbone("custom", in_channels=in_channels, image_size=8, factory=factory)


@pytest.mark.parametrize(("function", "feature_dim"), [("flat", 7), ("channels", 5), ("Network", 6)])
def test_a_factory_in_the_current_folder_builds_a_backbone(module: str, function: str, feature_dim: int) -> None:
    for in_channels in (1, 3, 5):
        backbone = custom(f"{module}:{function}", in_channels)
        assert backbone.feature_dim == feature_dim
        assert backbone(torch.randn(2, in_channels, 8, 8)).shape == (2, feature_dim)


def test_each_call_makes_a_new_module(module: str) -> None:
    assert custom(f"{module}:flat").network is not custom(f"{module}:flat").network


@pytest.mark.parametrize(
    "factory", ["my_networks", "my_networks:", ":flat", "my-networks:flat", "a:b:c", "a..b:c", "a:b.c"]
)
def test_a_factory_of_another_form_is_refused(module: str, factory: str) -> None:
    with pytest.raises(InputError) as refusal:
        custom(factory)
    assert str(refusal.value) == f"backbone.factory={factory} must have the form package.module:function"


@pytest.mark.parametrize(
    ("factory", "message"),
    [
        (
            "no_such_module:build",
            "importing no_such_module failed: ModuleNotFoundError: No module named 'no_such_module'",
        ),
        (
            "needs_another:build",
            "importing needs_another failed: ModuleNotFoundError: No module named 'a_package_that_",
        ),
        ("my_networks:missing", "my_networks.py) has no missing"),
        ("my_networks:existing", "is a module that exists already: name a function that returns a new one"),
        ("my_networks:text", "is a str, not a function that returns an nn.Module"),
        ("my_networks:number", "returned a int, not an nn.Module"),
        ("my_networks:broken", "failed: ValueError: no such (my_networks.py:"),
        ("my_networks:greedy", "failed: TypeError: greedy() missing 1 required positional argument: 'depth'"),
        ("my_networks:cannot_take_images", "cannot take images of 2x8x8: RuntimeError: "),
    ],
)
def test_a_factory_that_gives_no_backbone_is_refused_in_one_line(module: str, factory: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        custom(factory)
    assert f"backbone.factory={factory}" in str(refusal.value)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_current_folder_is_importable_only_once_a_factory_is_named(module: str) -> None:
    build_backbone("resnet_small", in_channels=1, image_size=8, widths=[2], blocks=[1], zero_init_residual=False)
    assert str(Path.cwd()) not in sys.path
    custom(f"{module}:flat")
    custom(f"{module}:flat")
    assert sys.path.count(str(Path.cwd())) == 1


def timm_backbone(model: str, in_channels: int = 3, image_size: int = 32) -> Backbone:
    return build_backbone("timm", in_channels=in_channels, image_size=image_size, model=model)


@pytest.mark.parametrize("in_channels", [1, 3, 5])
@pytest.mark.parametrize(("model", "feature_dim"), [("vit_tiny_patch16_224", 192), ("resnet10t", 512)])
def test_timm_models_take_the_image_size_and_channels(model: str, feature_dim: int, in_channels: int) -> None:
    pytest.importorskip("timm")
    backbone = timm_backbone(model, in_channels)
    assert backbone.feature_dim == feature_dim
    assert backbone(torch.randn(2, in_channels, 32, 32)).shape == (2, feature_dim)


@pytest.mark.parametrize(
    ("model", "hint"),
    [
        ("vit_tiny_patch16_244", "did you mean vit_tiny_patch16_224, "),
        ("hf-hub:timm/resnet18.a1_in1k", "is not a model of timm"),
        ("##########", "timm.list_models() in Python lists them"),
    ],
)
def test_an_unknown_timm_model_is_refused_with_close_ones(model: str, hint: str) -> None:
    pytest.importorskip("timm")
    with pytest.raises(InputError) as refusal:
        timm_backbone(model)
    assert str(refusal.value).startswith(f"backbone.model={model} is not a model of timm: ")
    assert hint in str(refusal.value)
    assert str(refusal.value).count(",") <= 2


def test_an_image_size_that_a_timm_model_cannot_take_is_refused_in_one_line() -> None:
    pytest.importorskip("timm")
    with pytest.raises(
        InputError, match=r"^backbone=timm backbone.model=vit_tiny_patch16_224 cannot take images of 3x8x8"
    ):
        timm_backbone("vit_tiny_patch16_224", image_size=8)


def test_without_timm_the_message_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError) as refusal:
        timm_backbone("resnet10t")
    assert str(refusal.value) == "backbone=timm needs the timm package: pip install 'byol-cli[timm]'"
