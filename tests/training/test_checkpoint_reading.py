"""A good checkpoint is read as it was written; what is not listed, or no checkpoint of ours, is refused."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from byol_cli.schema.errors import InputError
from byol_cli.training.checkpoint_reading import KEYS, read_checkpoint
from byol_cli.training.digests import digest_file


def same(one: Any, other: Any) -> bool:
    """Whether nested values are equal to the last bit; lists and tuples are alike."""
    if isinstance(one, torch.Tensor):
        assert one.stride() == other.stride()
        return one.dtype == other.dtype and torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and one == other


@pytest.mark.parametrize("optimizer", ["lars", "sgd", "adam", "adamw"])
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_what_a_run_writes_is_read(optimizer: str, precision: str, tmp_path: Path, forge: SimpleNamespace) -> None:
    words = (f"optimizer={optimizer}", f"trainer.precision={precision}", "trainer.channels_last=true")
    run = forge.saved_run(tmp_path, *words)
    checkpoint = read_checkpoint(run.path)
    assert same(run.content, checkpoint)
    assert checkpoint["optimizer"]["state"]
    assert checkpoint.keys() == KEYS


@pytest.mark.parametrize(
    "words",
    [
        ("backbone=resnet18",),
        ("backbone=timm", "backbone.model=vit_tiny_patch16_224"),
        ("head.predictor=false",),
    ],
)
def test_the_networks_of_a_run_are_known_from_its_config(
    words: tuple[str, ...], tmp_path: Path, forge: SimpleNamespace
) -> None:
    if any("timm" in word for word in words):
        pytest.importorskip("timm")
    small = (*words, "augmentation.image_size=32", "augmentation.evaluation_resize=32")
    run = forge.saved_run(tmp_path, *small)
    assert same(run.content, read_checkpoint(run.path))
    values = torch.load(run.path, weights_only=True)
    values["config"]["head"]["output_dim"] += 1
    (tmp_path / "other.pt").write_bytes(forge.torch_bytes(values))
    with pytest.raises(InputError, match=r"that of its config: of another form: projector\.output\.wei"):
        read_checkpoint(tmp_path / "other.pt")


def test_reading_leaves_the_random_generator_alone(saved_run: Any) -> None:
    before = torch.get_rng_state()
    read_checkpoint(saved_run.path)
    assert torch.equal(torch.get_rng_state(), before)


def test_an_entry_of_a_later_version_is_kept_where_it_is_plain(
    content: dict[str, Any], tmp_path: Path, forge: SimpleNamespace
) -> None:
    path = tmp_path / "later.pt"
    path.write_bytes(forge.torch_bytes({**content, "later": {"a": [1, 2.0, None, "text"]}}))
    assert read_checkpoint(path)["later"] == {"a": [1, 2.0, None, "text"]}
    path.write_bytes(forge.torch_bytes({**content, "later": torch.zeros(1)}))
    with pytest.raises(InputError, match="its later is of another form"):
        read_checkpoint(path)


@pytest.mark.parametrize("listed", ["", "0" * 64 + "  last.pt\n", "\0\xff", None])
def test_a_file_must_be_listed_where_there_is_a_list(listed: str | None, good: bytes, tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    path.write_bytes(good)
    if listed is None:
        assert read_checkpoint(path)["step"] == 1
        return
    digest_file(path).write_text(listed)
    with pytest.raises(InputError, match=r"resume=.*last\.pt: its SHA-256 is not in last\.pt\.sha256; the file is dam"):
        read_checkpoint(path, field="resume")


def test_a_path_that_is_no_file_is_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.pt"):
        with pytest.raises(InputError, match="there is no such file"):
            read_checkpoint(path)
