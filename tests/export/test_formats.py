"""Each format is loaded in the library that it is for, and gives there the features that it gives here."""

import json
import re
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import timm
import torch
from safetensors import safe_open
from torchvision import models
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone

from byol_cli.export.formats import FORMATS, export, usual_path
from byol_cli.export.notebook import load_backbone
from byol_cli.export.trained import TrainedBackbone
from byol_cli.model.backbones import build_backbone
from byol_cli.model.weights import load_backbone_weights
from byol_cli.schema.errors import InputError
from byol_cli.schema.export import SUFFIXES, ExportConfig

pytestmark = pytest.mark.slow

Make = Callable[..., TrainedBackbone]
Images = Callable[[TrainedBackbone, int], torch.Tensor]

RESNET18 = ("backbone=resnet18",)
RESNET50 = ("backbone=resnet50",)
CONVNEXT = ("backbone=convnext_tiny",)
SMALL = ("backbone=resnet_small", "backbone.widths=[4,8]", "backbone.blocks=[1,1]")
GRAY = ("dataset.channels=1", "augmentation=digits", "augmentation.image_size=64", "augmentation.evaluation_resize=70")
VIT = ("backbone=timm", "backbone.model=vit_tiny_patch16_224")
SMALL_IMAGES = (*RESNET18, "backbone.small_images=true")


def features(model: Any, images: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        return model(images)


def assert_close(left: torch.Tensor, right: torch.Tensor, *, within: float = 1e-5) -> None:
    assert left.std() > 0.01  # constant features would agree, too
    torch.testing.assert_close(left, right, atol=within, rtol=within)


def test_schema_and_code_offer_the_same_formats() -> None:
    assert set(FORMATS) == set(SUFFIXES) == set(get_args(get_type_hints(ExportConfig)["format"]))


@pytest.mark.parametrize("words", [RESNET50, CONVNEXT], ids=["resnet50", "convnext"])
def test_torchvision_loads_it_strictly_but_for_the_classifier(
    make_trained: Make, some_images: Images, tmp_path: Path, words: tuple[str, ...]
) -> None:
    trained = make_trained(*words)
    export(trained, "torchvision", tmp_path / "x.pth", overwrite=False)
    model = models.get_model(trained.architecture)
    if hasattr(model, "fc"):
        model.fc = torch.nn.Identity()
    else:
        model.classifier[2] = torch.nn.Identity()
    model.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True), strict=True)
    images = some_images(trained, 3)
    assert_close(features(model.eval(), images), features(trained.backbone, images))


def test_faster_rcnn_takes_the_resnet50(make_trained: Make, some_images: Images, tmp_path: Path) -> None:
    trained = make_trained(*RESNET50)
    export(trained, "torchvision", tmp_path / "x.pth", overwrite=False)
    backbone = resnet_fpn_backbone(backbone_name="resnet50", weights=None)
    backbone.body.load_state_dict(torch.load(tmp_path / "x.pth", weights_only=True), strict=True)
    detector = models.detection.FasterRCNN(backbone, num_classes=2, min_size=64, max_size=64).eval()
    # Its frozen norms round in another order, which fifty layers of random weights magnify; not in double precision.
    images = some_images(trained, 2).double()
    maps = features(detector.backbone.body.double(), images)
    assert_close(maps["3"].mean(dim=(2, 3)), features(deepcopy(trained.backbone).double(), images))
    detector.float()
    assert {"boxes", "labels", "scores"} <= set(features(detector, list(torch.rand(2, 3, 64, 64)))[0])


@pytest.mark.parametrize(
    "words", [RESNET50, CONVNEXT, VIT, (*RESNET18, *GRAY)], ids=["resnet50", "convnext", "vit", "gray"]
)
def test_timm_creates_the_model_from_it(
    make_trained: Make, some_images: Images, tmp_path: Path, words: tuple[str, ...]
) -> None:
    trained = make_trained(*words)
    path = tmp_path / "x.safetensors"
    export(trained, "timm", path, overwrite=False)
    size = {"img_size": 64} if words == VIT else {}
    model = timm.create_model(
        trained.architecture, num_classes=0, in_chans=trained.channels, checkpoint_path=str(path), **size
    )
    images = some_images(trained, 3)
    assert_close(features(model.eval(), images), features(trained.backbone, images))


@pytest.mark.parametrize("words", [SMALL, RESNET50], ids=["small", "resnet50"])
def test_safetensors_loads_it_with_its_metadata(
    make_trained: Make, some_images: Images, tmp_path: Path, words: tuple[str, ...]
) -> None:
    trained = make_trained(*words)
    path = tmp_path / "x.safetensors"
    export(trained, "safetensors", path, overwrite=False)
    with safe_open(path, framework="pt") as file:
        told = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
    architecture = json.loads(told["architecture"])
    model = build_backbone(**architecture, in_channels=int(told["channels"]), image_size=int(told["image_size"]))
    model.network.load_state_dict(weights)
    images = some_images(trained, 3)
    assert_close(features(model.eval(), images), features(trained.backbone, images))
    assert (json.loads(told["mean"]), json.loads(told["std"])) == (trained.mean, trained.std)
    assert (told["resize"], told["feature_dim"]) == ("70", str(trained.backbone.feature_dim))
    training = json.loads(told["training"])
    assert (training["dataset"], training["steps"], training["batch_size"]) == ("synthetic", 3, 4)
    assert json.loads(told["measured"]) is None  # nothing was measured
    again = build_backbone(**architecture, in_channels=3, image_size=64)
    load_backbone_weights(again, path)
    assert_close(features(again.eval(), images), features(trained.backbone, images))


def test_onnxruntime_runs_it_for_any_batch_size(make_trained: Make, some_images: Images, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    trained = make_trained(*RESNET18)
    path = tmp_path / "x.onnx"
    export(trained, "onnx", path, overwrite=False)
    session = onnxruntime.InferenceSession(path)
    for count in (1, 2, 5):
        images = some_images(trained, count)
        (made,) = session.run(["features"], {"images": images.numpy()})
        assert_close(torch.from_numpy(made), features(trained.backbone, images), within=1e-3)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["mean"]) == trained.mean
    assert str(Path(__file__).parents[2]).encode() not in path.read_bytes()  # where this machine keeps its code
    assert [found.name for found in sorted(tmp_path.iterdir())] == ["x.card.md", "x.onnx"]


@pytest.mark.parametrize(
    ("words", "format_name", "reason"),
    [
        (SMALL, "torchvision", "torchvision has no resnet_small; format=safetensors and format=onnx take it"),
        (SMALL, "timm", "timm has no resnet_small"),
        (SMALL_IMAGES, "torchvision", "resnet18 begins with a 7x7 convolution and a max-pool"),
        (SMALL_IMAGES, "timm", "begins with a 7x7 convolution and a max-pool"),
        ((*RESNET18, *GRAY), "torchvision", "resnet18 takes 3 channels, this backbone 1"),
        (VIT, "torchvision", "vit_tiny_patch16_224 is timm's; format=timm is for it"),
    ],
)
def test_what_a_library_does_not_have_is_refused_with_the_reason(
    make_trained: Make, tmp_path: Path, words: tuple[str, ...], format_name: str, reason: str
) -> None:
    with pytest.raises(InputError, match=re.escape(reason)):
        export(make_trained(*words), format_name, tmp_path / "new" / "x", overwrite=False)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "format_name"),
    [
        (RESNET18, "torchvision"),
        (VIT, "timm"),
        ((*RESNET18, *GRAY), "timm"),
        (SMALL, "safetensors"),
        (SMALL, "onnx"),
    ],
    ids=["torchvision", "timm", "gray", "safetensors", "onnx"],
)
def test_the_code_in_the_card_works(
    make_run: Callable[..., Path],
    make_trained: Make,
    some_images: Images,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    format_name: str,
) -> None:
    if format_name == "onnx":
        pytest.importorskip("onnxruntime")
    trained = make_trained(*words)
    path = tmp_path / f"x{SUFFIXES[format_name]}"
    card = export(trained, format_name, path, overwrite=False).read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    images = some_images(trained, 2)
    within = 1e-3 if format_name == "onnx" else 1e-5
    assert_close(features(names["model"], images), features(trained.backbone, images), within=within)
    picture = torch.randint(0, 256, (trained.channels, 90, 120), dtype=torch.uint8)
    mine = load_backbone(make_run(*words)).transform(picture)
    torch.testing.assert_close(names["transform"](picture), mine, atol=1e-5, rtol=0)
    assert names["features"].shape == (1, trained.backbone.feature_dim)


def test_the_card_tells_what_is_known_and_no_path(make_trained: Make, tmp_path: Path) -> None:
    trained = make_trained(*SMALL)
    card = export(trained, "safetensors", tmp_path / "x.safetensors", overwrite=False).read_text()
    assert "data set: synthetic" in card
    assert "optimiser steps: 3, of 4 images each; epochs completed: 3" in card
    assert "There are no figures of exactly these weights" in card
    assert str(tmp_path) not in card
    assert str(trained.folder) not in card


def test_figures_in_the_card_are_those_of_these_weights(make_trained: Make, tmp_path: Path) -> None:
    trained = make_trained(*SMALL, "seed=5")
    figures = {"linear_top1": 0.98765, "knn_top1": None, "few_label_top1": 0.5, "measured_on": "test"}
    summary = {"status": "done", "steps": 3, **figures, "untrained": {**figures, "linear_top1": 0.25}, "pixels": None}
    (trained.folder / "summary.json").write_text(json.dumps(summary))
    card = export(trained, "safetensors", tmp_path / "x.safetensors", overwrite=False).read_text()
    assert "| trained | 0.988 | - | 0.500 |" in card
    assert "| untrained | 0.250 | - | 0.500 |" in card
    assert "raw pixels" not in card
    (trained.folder / "summary.json").write_text(json.dumps({**summary, "steps": 4}))
    card = export(trained, "safetensors", tmp_path / "x.safetensors", overwrite=True).read_text()
    assert "0.988" not in card


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="it takes a folder where nobody can write")
@pytest.mark.parametrize("format_name", ["torchvision", "safetensors", "onnx"])
def test_where_nothing_can_be_written_it_is_one_line(make_trained: Make, format_name: str) -> None:
    trained = make_trained(*RESNET18)
    with pytest.raises(InputError, match=r"output=/proc/x\.y cannot be written: No such file or directory"):
        export(trained, format_name, Path("/proc/x.y"), overwrite=False)


def test_nothing_is_replaced_unasked_and_nothing_is_left_half_written(
    make_trained: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, path = make_trained(*SMALL), tmp_path / "x.safetensors"
    path.write_text("mine")
    with pytest.raises(InputError, match="is there already; overwrite=true replaces it"):
        export(trained, "safetensors", path, overwrite=False)
    from byol_cli.export import formats

    def fails(*words: Any) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(formats, "card", fails)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        export(trained, "safetensors", path, overwrite=True)
    assert [(found.name, found.read_text()) for found in tmp_path.iterdir()] == [("x.safetensors", "mine")]


def test_the_usual_place_is_in_the_run(make_trained: Make) -> None:
    trained = make_trained(*VIT)
    assert usual_path(trained, "timm") == trained.folder / "export" / "timm" / "vit_tiny_patch16_224.safetensors"
