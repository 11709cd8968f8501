"""The whole configuration of `byol-export` and of `byol-embed`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from byol_cli.schema.constraints import Count, NumWorkers
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.trainer import check_checkpoint, check_device

SUFFIXES = {"torchvision": ".pth", "timm": ".safetensors", "safetensors": ".safetensors", "onnx": ".onnx"}
"""What the name of an export ends in, by its format: timm, for one, goes by it."""

TABLE_SUFFIXES = (".npz", ".parquet", ".csv")


@dataclass(frozen=True, kw_only=True)
class ExportConfig:
    """`byol-export`; `output` is null for a name in the folder `export` of the run."""

    checkpoint: str
    format: Literal["torchvision", "timm", "safetensors", "onnx"]
    output: str | None
    overwrite: bool
    backbone_factory: str | None

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        suffix = SUFFIXES[self.format]
        if self.output is not None and Path(self.output).suffix != suffix:
            raise InputError(f"output={self.output} must end in {suffix} for format={self.format}")


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """`byol-embed`; `dataset` is null for the data set of the checkpoint's own run."""

    checkpoint: str
    dataset: DatasetConfig | None
    output: str
    overwrite: bool
    neighbors: Count | None
    backbone_factory: str | None
    device: str
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    batch_size: Count
    num_workers: NumWorkers | None

    def __post_init__(self) -> None:
        check_checkpoint(self.checkpoint)
        check_device(self.device)
        if Path(self.output).suffix not in TABLE_SUFFIXES:
            raise InputError(f"output={self.output} must end in one of {', '.join(TABLE_SUFFIXES)}")
