"""A hostile checkpoint is refused in one line: no code of it is run, nothing imported, and memory is bounded."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

READ_ALL = """
import json, os, resource, sys
from pathlib import Path
from byol_cli.schema.errors import InputError
from byol_cli.training.checkpoint_reading import read_checkpoint

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

sys.path.insert(0, os.getcwd())
read_checkpoint(Path("good"))
for path in sorted(Path("hostile").iterdir()):
    modules, before = set(sys.modules), peak()
    try:
        read_checkpoint(path)
        said = "read"
    except InputError as error:
        said = str(error)
    imported = sorted(name for name in set(sys.modules) - modules if name.split(".")[0] != "timm")
    print(json.dumps([path.name, said, peak() - before, imported]))
"""


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


def lie(shape: tuple[int, ...], strides: tuple[int, ...]) -> Calls:
    """A tensor of one number that says it is larger."""
    storage = torch.zeros(1).storage()
    return Calls(torch._utils._rebuild_tensor_v2, storage, 0, shape, strides, False, OrderedDict())


def config_with(content: dict[str, Any], group: str, **settings: Any) -> dict[str, Any]:
    config = content["config"]
    return {**content, "config": {**config, group: {**config[group], **settings}}}


def hostile_values(content: dict[str, Any]) -> dict[str, tuple[Any, str]]:
    """Contents, and what is said of them."""
    online, config, optimizer = content["online"], content["config"], content["optimizer"]
    weight = "projector.output.weight"
    custom = {"name": "custom", "weights": None, "factory": "bait:build"}
    deep: Any = []
    for _ in range(100):
        deep = [deep]
    return {
        "system": ({**content, "metrics": Calls(os.system, "touch made")}, "asks for posix.system"),
        "touch": (
            {**content, "metrics": Calls(Path.touch, Path("made"))},
            "asks for pathlib|asks for .*getattr",
        ),
        "import": ({**content, "step": Calls(__import__, "bait")}, "asks for .*__import__"),
        "shape": ({**content, "online": {**online, "x": lie((10**6, 10**6), (0, 0))}}, "more than the file holds"),
        "negative": ({**content, "online": {**online, "x": lie((-1, -1), (1, 1))}}, "as torch.save never does"),
        "nan": ({**content, "online": {**online, weight: online[weight] * float("nan")}}, "online .* not finite"),
        "inf": ({**content, "target": {**content["target"], weight: online[weight] / 0}}, "target .* not finite"),
        "target": (config_with(content, "backbone", _target_="os.system"), "backbone._target_: there is no such"),
        "resolved": ({**content, "config": {**config, "seed": "${oc.env:HOME}"}}, r"seed=\$\{oc.env:HOME\} must be"),
        "url": (config_with(content, "backbone", name="hf-hub:someone/model"), "backbone.name=hf-hub:someone/model"),
        "custom": ({**content, "config": {**config, "backbone": custom}}, "read"),
        "widths": (config_with(content, "backbone", widths=[10**9]), "widths|architecture|cannot be built"),
        "long": (config_with(content, "backbone", widths=[10**12], blocks=[10**12]), "widths|blocks"),
        "blocks": (config_with(content, "backbone", blocks=[10**6]), "blocks"),
        "stages": (
            config_with(content, "backbone", widths=[4] * 9, blocks=[9] * 9),
            "more blocks than there are",
        ),
        "wide": (config_with(content, "head", hidden_dim=16_384), r"projector.hidden.weight .* \(16384, 4\)"),
        "heads": (config_with(content, "head", hidden_dim=2**62), "hidden_dim|architecture|cannot be built"),
        "pixels": (
            config_with(content, "augmentation", image_size=2**40, evaluation_resize=2**40),
            "image_size|cannot",
        ),
        "list": (config_with(content, "backbone", name=["timm"]), "backbone.name"),
        "lines": (config_with(content, "backbone", name="a\n\x1b[2Jb\r" + "c" * 5000), r"name=a \?\[2Jb ccc"),
        "deep": ({**content, "config": deep}, "config is of another form"),
        "step": ({**content, "step": -1}, "step is of another form"),
        "epoch": ({**content, "epoch": True}, "epoch is of another form"),
        "channels": ({**content, "channels": 65}, "channels is of another form"),
        "std": ({**content, "normalization": {"mean": [0.0], "std": [0.0]}}, "normalization.std is of"),
        "mean": ({**content, "normalization": {"mean": [float("nan")], "std": [1.0]}}, "normalization.mean is of"),
        "length": ({**content, "normalization": {"mean": [0.0] * 3, "std": [1.0] * 3}}, "normalization is of"),
        "scaler": ({**content, "scaler": {"scale": 1.0}}, "scaler is of another form"),
        "rng": ({**content, "rng": {"cpu": torch.zeros(5)}}, "rng.cpu is of another form"),
        "weights": ({**content, "online": {**online, weight: 0}}, "online.projector.output.weight is of another"),
        "double": ({**content, "online": {**online, weight: online[weight].double()}}, r"float64 of shape \(4, 6\)"),
        "more": ({**content, "online": {**online, "more": torch.zeros(1)}}, "unexpected: more"),
        "fewer": ({**content, "target": {}}, "missing: backbone.network.conv1.weight, .* and 23 more"),
        "state": ({**content, "optimizer": {**optimizer, "state": {999: {}}}}, "optimizer.state is of"),
        "memory": (
            {**content, "optimizer": {**content["optimizer"], "state": {0: {"m": torch.zeros(9)}}}},
            "no such par",
        ),
        "groups": ({**content, "optimizer": {"state": {}, "param_groups": []}}, "of other parameters"),
        "numbers": ({"a": 1}, "it lacks channels, config"),
        "tensor": (torch.zeros(3), "it lacks channels, config"),
    }


def hostile_files(good: bytes, content: dict[str, Any], forge: SimpleNamespace) -> dict[str, tuple[bytes, str]]:
    """Bytes, and what is said of them; none may take memory or run code."""
    made = Calls(Path.touch, Path("made"))
    legacy, tar = io.BytesIO(), io.BytesIO()
    torch.save({**content, "metrics": made}, legacy, _use_new_zipfile_serialization=False)
    with tarfile.open(fileobj=tar, mode="w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(data := pickle.dumps(made))
            archive.addfile(entry, io.BytesIO(data))

    def bomb(name: str, record: bytes) -> bytes:
        return bytes(128 << 20) if name == "archive/data/0" else record

    number = b"\x8a\x06" + (10**12).to_bytes(6, "little")
    skeletons = {
        "storage": (b"ctorch\nFloatStorage\n" + number + b"\x85R.", "calls what"),
        "bytearray": (b"cbuiltins\nbytearray\n" + number + b"\x85R.", "asks for builtins.bytearray"),
        "memo": (b"}r\x00\x00\x00\x80.", "lacks"),
        "bytes": (b"\x8e" + (2**40).to_bytes(8, "little") + b".", "instruction"),
        "text": (b"X\xff\xff\xff\xff.", "cut off"),
        "nested": (b"]" * 300_000 + b"a" * 299_999 + b".", "lacks"),
        "tuples": (b")" + b"\x85" * 300_000 + b".", "lacks"),
        "empty": (b"]" * (15 << 20) + b".", "more objects"),
        "large": (b"]" * (17 << 20) + b".", "larger than that of any"),
    }
    return {
        "pickle": (pickle.dumps(made), "not an archive of torch.save"),
        "legacy": (legacy.getvalue(), "not an archive of torch.save"),
        "tar": (tar.getvalue(), "not an archive of torch.save"),
        "bomb": (forge.rezipped(good, bomb, compression=zipfile.ZIP_DEFLATED), "compressed"),
        **{name: (forge.with_skeleton(good, b"\x80\x02" + data), said) for name, (data, said) in skeletons.items()},
        **{name: (forge.torch_bytes(values), said) for name, (values, said) in hostile_values(content).items()},
    }


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_hostile_files_run_nothing_and_take_no_memory(
    good: bytes, content: dict[str, Any], tmp_path: Path, forge: SimpleNamespace
) -> None:
    files = hostile_files(good, content, forge)
    (tmp_path / "good").write_bytes(good)
    (tmp_path / "bait.py").write_text("open('made', 'w')\n")
    (tmp_path / "hostile").mkdir()
    for name, (data, _) in files.items():
        (tmp_path / "hostile" / name).write_bytes(data)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(
        [sys.executable, "-c", READ_ALL], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    outcomes = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(outcomes) == len(files)
    for name, said, megabytes, imported in outcomes:
        expected = files[name][1]
        prefix = "" if expected == "read" else f"checkpoint=hostile/{name}: .*"
        assert re.search(prefix + f"({expected})", said), (name, said)
        assert said.isprintable(), name
        assert len(said) < 500, name
        assert not imported, (name, imported)
        assert megabytes < (300 if name == "empty" else 100), (name, megabytes)
    assert not (tmp_path / "made").exists()
