"""What a file of weights says of itself, as text by name: safetensors and ONNX both have room for that."""

import json
from typing import Any

import byol_cli
from byol_cli.export.trained import TrainedBackbone
from byol_cli.schema.errors import InputError
from byol_cli.training.recorder import read_json


def metadata(trained: TrainedBackbone) -> dict[str, str]:
    """Architecture, input and training; lists and nested values are JSON. No path is told, only names."""
    facts = {
        "byol_cli": byol_cli.__version__,
        "architecture": trained.options,
        "feature_dim": trained.backbone.feature_dim,
        "channels": trained.channels,
        "image_size": trained.image_size,
        "resize": trained.resize,
        "mean": trained.mean,
        "std": trained.std,
        "training": training_facts(trained),
        "measured": measured(trained),
    }
    return {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}


def training_facts(trained: TrainedBackbone) -> dict[str, Any]:
    """How it was trained, in numbers and names."""
    config, optimizer = trained.config, trained.config.optimizer
    return {
        "method": "BYOL",
        "dataset": config.dataset.name,
        "steps": trained.step,
        "epochs": trained.checkpoint["epoch"],
        "batch_size": config.trainer.batch_size,
        "loss": config.loss.name,
        "optimizer": optimizer.name,
        "lr": optimizer.lr,
        "scale_lr": optimizer.scale_lr,
        "schedule": optimizer.schedule,
        "weight_decay": optimizer.weight_decay,
        "base_tau": config.ema.base_tau,
        "seed": config.seed,
        "versions": {name: trained.checkpoint["versions"].get(name) for name in ("byol_cli", "torch", "torchvision")},
    }


def measured(trained: TrainedBackbone) -> dict[str, Any] | None:
    """The figures in the run's summary.json, where they are of this checkpoint's weights."""
    try:
        summary = read_json(trained.folder / "summary.json")
    except InputError:  # a run in the making, or one that was copied in part
        return None
    if summary is None or summary.get("status") != "done" or summary.get("steps") != trained.step:
        return None
    names = ("linear_top1", "knn_top1", "few_label_top1", "effective_rank", "measured_on")
    return {name: summary.get(name) for name in names} | {
        other: {name: score for name, score in (summary.get(other) or {}).items() if name in names}
        for other in ("untrained", "pixels")
    }
