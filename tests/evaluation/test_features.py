from collections.abc import Iterator

import pytest
import torch
from torch import nn

from byol_cli.evaluation.features import (
    extract_features,
    missing_rows,
    pixel_features,
    standardization,
    without_missing,
)
from byol_cli.schema.errors import InputError, TrainingFault


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def images(count: int = 10) -> torch.Tensor:
    return torch.rand(count, 3, 8, 8, generator=generator())


@pytest.fixture
def backbone() -> nn.Module:
    """Convolutions with BatchNorm whose statistics have already seen images; the first block is frozen in eval mode."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        frozen = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        network = nn.Sequential(frozen, nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        network(torch.randn(16, 3, 8, 8))
    frozen.eval()
    return network


def snapshot(network: nn.Module) -> dict[str, bytes]:
    return {name: buffer.numpy().tobytes() for name, buffer in network.named_buffers()}


def test_features_are_those_of_the_backbone_in_evaluation_mode_in_order(backbone: nn.Module) -> None:
    features = extract_features(backbone, images().split(4), device="cpu", autocast=None)
    with torch.no_grad():
        expected = backbone.eval()(images())
    assert features.dtype == torch.float32
    assert features.device.type == "cpu"
    assert not features.requires_grad
    torch.testing.assert_close(features, expected)


def test_buffers_stay_the_same_byte_for_byte(backbone: nn.Module) -> None:
    before = snapshot(backbone)
    extract_features(backbone, images().split(4), device="cpu", autocast=None)
    assert snapshot(backbone) == before
    assert len(before) == 6


def test_a_forward_in_training_mode_would_have_changed_the_buffers(backbone: nn.Module) -> None:
    before = snapshot(backbone)
    with torch.no_grad():
        backbone(images())
    assert snapshot(backbone) != before


def test_every_module_is_back_in_the_mode_it_was_in(backbone: nn.Module) -> None:
    before = [module.training for module in backbone.modules()]
    assert set(before) == {True, False}
    extract_features(backbone, images().split(4), device="cpu", autocast=None)
    assert [module.training for module in backbone.modules()] == before


def test_modes_are_restored_when_a_batch_fails(backbone: nn.Module) -> None:
    def broken() -> Iterator[torch.Tensor]:
        yield images()
        raise OSError("the disk is gone")

    before = [module.training for module in backbone.modules()]
    with pytest.raises(OSError, match="the disk is gone"):
        extract_features(backbone, broken(), device="cpu", autocast=None)
    assert [module.training for module in backbone.modules()] == before


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_under_mixed_precision_features_come_out_as_the_backbone_gave_them(
    backbone: nn.Module, precision: torch.dtype
) -> None:
    seen: list[torch.Tensor] = []
    backbone.register_forward_hook(lambda module, inputs, output: seen.append(output))
    exact = extract_features(backbone, images().split(5), device="cpu", autocast=None)
    mixed = extract_features(backbone, images().split(5), device="cpu", autocast=precision)
    assert [output.dtype for output in seen] == [torch.float32] * 2 + [precision] * 2
    assert mixed.dtype == precision
    assert torch.equal(mixed, torch.cat(seen[2:]))
    torch.testing.assert_close(mixed.float(), exact, atol=0.05, rtol=0.05)


def test_channels_last_images_reach_the_backbone_channels_last(backbone: nn.Module) -> None:
    seen: list[bool] = []
    backbone.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].is_contiguous(memory_format=torch.channels_last))
    )
    batches = images().to(memory_format=torch.channels_last).split(5)
    extract_features(backbone, batches, device="cpu", autocast=None)
    assert seen == [True, True]


def test_pixel_features_are_the_images_flattened() -> None:
    features = pixel_features(images().to(torch.float64).split(3))
    assert features.dtype == torch.float32
    assert torch.equal(features, images().reshape(10, 3 * 8 * 8))


def test_standardised_features_have_mean_zero_and_root_mean_squared_length_four() -> None:
    features = torch.randn(200, 12, generator=generator()) * torch.arange(12) + 5
    mean, factor = standardization(features)
    standardised = (features - mean) * factor
    torch.testing.assert_close(standardised.mean(dim=0), torch.zeros(12), atol=1e-5, rtol=0)
    assert standardised.square().sum(dim=1).mean().item() == pytest.approx(16, rel=1e-5)
    rescaled_mean, rescaled_factor = standardization(features * 1000 - 7)
    torch.testing.assert_close((features * 1000 - 7 - rescaled_mean) * rescaled_factor, standardised, atol=1e-3, rtol=0)


def test_standardised_constant_features_are_zero() -> None:
    mean, factor = standardization(torch.full((5, 3), 2.0))
    assert torch.equal((torch.full((5, 3), 2.0) - mean) * factor, torch.zeros(5, 3))


def images_with_missing_ones() -> torch.Tensor:
    """The second and the ninth could not be read."""
    some = images()
    some[[1, 8]] = torch.nan
    return some


@pytest.mark.parametrize("autocast", [None, torch.bfloat16])
def test_what_could_not_be_read_has_no_features_and_touches_no_others(
    backbone: nn.Module, autocast: torch.dtype | None
) -> None:
    """Even where a layer would make numbers of NaN, or spread it over the batch."""
    odd = nn.Sequential(nn.Hardtanh(), backbone)
    features = extract_features(odd, images_with_missing_ones().split(4), device="cpu", autocast=autocast)
    whole = extract_features(odd, images().split(4), device="cpu", autocast=autocast)
    assert missing_rows(features).nonzero().flatten().tolist() == [1, 8]
    assert features[[1, 8]].isnan().all()
    assert torch.equal(features[~missing_rows(features)], whole[~missing_rows(features)])


def test_features_and_labels_of_missing_images_are_left_out() -> None:
    pixels, labels = pixel_features([images_with_missing_ones()]), torch.arange(10)
    kept, kept_labels = without_missing(pixels, labels)
    assert kept_labels.tolist() == [0, 2, 3, 4, 5, 6, 7, 9]
    assert torch.equal(kept, images().flatten(1)[kept_labels])
    assert without_missing(images().flatten(1), labels)[1] is labels
    assert without_missing(torch.empty(0, 3), torch.empty(0))[0].shape == (0, 3)
    with pytest.raises(InputError, match="none of the 2 images to be measured on can be read"):
        without_missing(pixels[[1, 8]], labels[[1, 8]])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_features_of_a_broken_network_are_no_fault_of_the_images(backbone: nn.Module, value: float) -> None:
    with torch.no_grad():
        next(backbone.parameters()).fill_(value)
    for batch in (images(), images_with_missing_ones()):
        with pytest.raises(TrainingFault, match="features are not finite"):
            extract_features(backbone, batch.split(4), device="cpu", autocast=None)
