"""Weights from files: what is accepted, and that everything else is refused without running code from it."""

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from torchvision import models

from byol_cli.model.backbones import Backbone, build_backbone
from byol_cli.model.byol import build_networks
from byol_cli.model.weights import load_backbone_weights
from byol_cli.schema.errors import InputError


def small() -> Backbone:
    return build_backbone("resnet_small", in_channels=3, image_size=8, widths=[4], blocks=[1], zero_init_residual=False)


def resnet18(small_images: bool = False) -> Backbone:
    return build_backbone("resnet18", in_channels=3, image_size=32, small_images=small_images, zero_init_residual=False)


def refusal(backbone: Backbone, path: Path) -> str:
    with pytest.raises(InputError) as error:
        load_backbone_weights(backbone, path)
    message = str(error.value)
    assert message.startswith(f"backbone.weights={path}")
    assert "\n" not in message
    return message


def assert_same(backbone: Backbone, weights: dict[str, Tensor]) -> None:
    for name, tensor in backbone.network.state_dict().items():
        assert torch.equal(tensor, weights[name]), name


@pytest.mark.parametrize("wrapping", ["plain", "state_dict", "model"])
def test_torch_files_are_read_plain_or_under_the_usual_keys(tmp_path: Path, wrapping: str) -> None:
    weights = small().network.state_dict()
    torch.save(weights if wrapping == "plain" else {wrapping: weights, "epoch": 3}, tmp_path / "w.pt")
    backbone = small()
    load_backbone_weights(backbone, tmp_path / "w.pt")
    assert_same(backbone, weights)


def test_safetensors_files_are_read(tmp_path: Path) -> None:
    weights = small().network.state_dict()
    save_file(weights, tmp_path / "w.safetensors")
    backbone = small()
    load_backbone_weights(backbone, tmp_path / "w.safetensors")
    assert_same(backbone, weights)


def test_the_online_backbone_of_a_checkpoint_of_our_own_is_read(tmp_path: Path) -> None:
    online, target = build_networks(small, hidden_dim=4, output_dim=3, with_predictor=True)
    torch.save({"step": 1, "online": online.state_dict(), "target": target.state_dict()}, tmp_path / "last.pt")
    backbone = small()
    load_backbone_weights(backbone, tmp_path / "last.pt")
    assert_same(backbone, online.backbone.network.state_dict())


@pytest.mark.parametrize("ending", ["pt", "safetensors"])
def test_a_resnet_of_torchvision_is_accepted_with_its_classifier(tmp_path: Path, ending: str) -> None:
    reference = models.resnet18().eval()
    path = tmp_path / f"resnet18.{ending}"
    (save_file if ending == "safetensors" else torch.save)(reference.state_dict(), path)
    backbone = resnet18().eval()
    load_backbone_weights(backbone, path)
    images = torch.randn(2, 3, 32, 32)
    torch.testing.assert_close(reference.fc(backbone(images)), reference(images))


def test_a_convnext_keeps_the_norm_of_torchvisions_classifier(tmp_path: Path) -> None:
    weights = models.convnext_tiny().state_dict()
    weights["classifier.0.weight"] = torch.full((768,), 2.0)
    torch.save(weights, tmp_path / "convnext.pt")
    backbone = build_backbone("convnext_tiny", in_channels=3, image_size=32)
    load_backbone_weights(backbone, tmp_path / "convnext.pt")
    assert (backbone.network.get_parameter("classifier.0.weight") == 2).all()


def test_batch_norms_counter_may_be_missing_as_in_old_files(tmp_path: Path) -> None:
    weights = {name: value for name, value in small().network.state_dict().items() if "num_batches" not in name}
    torch.save(weights, tmp_path / "old.pt")
    load_backbone_weights(small(), tmp_path / "old.pt")


def test_everything_that_differs_is_listed(tmp_path: Path) -> None:
    weights = {name: value for name, value in small().network.state_dict().items() if "bn" not in name}
    weights["conv1.weight"] = torch.zeros(4, 1, 7, 7)
    weights["layer9.weight"] = torch.zeros(2)
    weights["fc.weight"] = torch.zeros(10, 4)
    torch.save(weights, tmp_path / "w.pt")
    assert refusal(small(), tmp_path / "w.pt") == (
        f"backbone.weights={tmp_path / 'w.pt'} does not fit backbone=resnet_small: "
        "missing bn1.weight, bn1.bias, bn1.running_mean (+9 more); unexpected layer9.weight; "
        "different shape conv1.weight (4,1,7,7) against (4,3,3,3)"
    )


def test_weights_for_large_images_do_not_fit_small_ones(tmp_path: Path) -> None:
    torch.save(models.resnet18().state_dict(), tmp_path / "w.pt")
    message = refusal(resnet18(small_images=True), tmp_path / "w.pt")
    assert message.endswith(
        "does not fit backbone=resnet18: different shape conv1.weight (64,3,7,7) against (64,3,3,3)"
    )


def test_a_refused_file_leaves_the_weights_alone(tmp_path: Path) -> None:
    backbone = small()
    before = {name: value.clone() for name, value in backbone.network.state_dict().items()}
    weights = small().network.state_dict()
    weights["other"] = torch.zeros(1)
    torch.save(weights, tmp_path / "w.pt")
    refusal(backbone, tmp_path / "w.pt")
    assert_same(backbone, before)


@pytest.mark.parametrize("content", [3, [torch.zeros(1)], {"lr": 0.1}, {"conv1.weight": "text"}, {"model": "resnet18"}])
def test_a_file_without_a_state_dict_is_refused(tmp_path: Path, content: Any) -> None:
    torch.save(content, tmp_path / "w.pt")
    assert "holds no state dict" in refusal(small(), tmp_path / "w.pt")


class Malicious:
    """Touches a file when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.marker,)


@pytest.mark.parametrize("form", ["zip", "legacy", "pickle"])
def test_a_malicious_pickle_is_refused_without_running_its_code(tmp_path: Path, form: str) -> None:
    marker, path = tmp_path / "ran", tmp_path / "w.pt"
    content = {"state_dict": Malicious(marker)}
    if form == "pickle":
        path.write_bytes(pickle.dumps(content, protocol=2))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=form == "zip")
    assert refusal(small(), path).endswith("is not a file of tensors and plain values; others could run code")
    assert not marker.exists()
    torch.load(path, weights_only=False) if form != "pickle" else pickle.loads(path.read_bytes())
    assert marker.exists()


def test_a_missing_file_a_folder_and_damaged_files_are_refused(tmp_path: Path) -> None:
    assert refusal(small(), tmp_path / "absent.pt").endswith("there is no such file")
    assert refusal(small(), tmp_path).endswith("there is no such file")
    for name, content in {
        "empty.pt": b"",
        "text.pt": b"hello world",
        "empty.safetensors": b"",
        "text.safetensors": b"hello world",
    }.items():
        (tmp_path / name).write_bytes(content)
        refusal(small(), tmp_path / name)
    torch.save(small().network.state_dict(), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    refusal(small(), tmp_path / "cut.pt")
