"""The model card: what a file of weights is, how it came about, what was measured, how to load it."""

from collections.abc import Iterator
from typing import Any

import byol_cli
from byol_cli.export.metadata import measured, training_facts
from byol_cli.export.trained import TrainedBackbone
from byol_cli.export.words import augmentation_in_words
from byol_cli.training.runtime import parameter_count

_COLUMNS = {"linear_top1": "linear", "knn_top1": "k-NN", "few_label_top1": "few labels"}
_LICENCE = "None is stated here: whoever publishes these weights chooses it, with the terms of the images in view."
_MEASURED_ON = {"test": "the test images", "selection": "images held out of the training images"}


def card(trained: TrainedBackbone, format_name: str, file_name: str, code: str) -> str:
    """The card of `file_name` in Markdown; `code` is Python that loads the file as `model`.

    No number is in it that the checkpoint or the run's summary.json does not hold. No path is told, only names.
    """
    parts = [
        f"# {file_name}",
        _what(trained, format_name),
        "## Input\n\n" + _input(trained),
        f"## Loading\n\n```python\n{code}\n\n{_transform_code(trained)}\n```",
        "## Training\n\n" + "\n".join(f"- {line}" for line in _training(trained)),
        "## Measured\n\n" + _figures(measured(trained)),
        f"## Licence\n\n{_LICENCE}",
    ]
    return "\n\n".join(parts) + "\n"


def _what(trained: TrainedBackbone, format_name: str) -> str:
    return (
        f"A {trained.architecture} backbone, pre-trained without labels by BYOL (Bootstrap Your Own Latent, Grill et "
        f"al. 2020), as written by byol-cli {byol_cli.__version__}, "
        f"`byol-export format={format_name}`. {parameter_count(trained.backbone):,} parameters; it gives "
        f"{trained.backbone.feature_dim:,} features an image and has no classifier, projector or predictor."
    )


def _input(trained: TrainedBackbone) -> str:
    colours = {1: "gray", 3: "red, green, blue"}.get(trained.channels, f"{trained.channels} channels")
    lines = [
        f"- float32 (batch, {trained.channels}, {trained.image_size}, {trained.image_size}), {colours}",
        f"- short side resized to {trained.resize} px (bicubic, antialiased), centre {trained.image_size} px cropped",
        f"- values in [0, 1], then mean {_numbers(trained.mean)} subtracted and divided by {_numbers(trained.std)}",
    ]
    if trained.keeps_exact_size and trained.resize != trained.image_size:
        lines.append(f"- images of exactly {trained.image_size} px were measured as they are, without resizing")
    return "\n".join(lines)


def _transform_code(trained: TrainedBackbone) -> str:
    gray = "        v2.Grayscale(),\n" if trained.channels == 1 else ""
    return f"""\
import torch
from torchvision.transforms import v2

transform = v2.Compose(
    [
        v2.ToImage(),
{gray}        v2.Resize({trained.resize}, interpolation=v2.InterpolationMode.BICUBIC, antialias=True),
        v2.CenterCrop({trained.image_size}),
        v2.ToDtype(torch.float32, scale=True),
        v2.Normalize({trained.mean}, {trained.std}),
    ]
)
image = torch.zeros({trained.channels}, 300, 400, dtype=torch.uint8)  # or a PIL image
with torch.no_grad():
    features = model(transform(image)[None])  # (1, {trained.backbone.feature_dim})"""


def _training(trained: TrainedBackbone) -> Iterator[str]:
    facts, config = training_facts(trained), trained.config
    yield f"data set: {facts['dataset']}; labels play no part"
    yield (
        f"optimiser steps: {facts['steps']:,}, of {facts['batch_size']:,} images each; "
        f"epochs completed: {facts['epochs']:,}"
    )
    yield from augmentation_in_words(config.augmentation)
    scaled = " per 256 images" if facts["scale_lr"] == "linear" else ""
    yield (
        f"optimiser: {facts['optimizer']}, learning rate {facts['lr']:g}{scaled}, {facts['schedule']} schedule, "
        f"weight decay {facts['weight_decay']:g}"
    )
    yield (
        f"target network: tau from {facts['base_tau']:g}, {config.ema.name}; heads of {config.head.hidden_dim:,} and "
        f"{config.head.output_dim:,}{'' if config.head.predictor else ', no predictor'}; loss {facts['loss']}"
    )
    if config.backbone.weights is not None:
        yield "the backbone started from weights in a file (backbone.weights), not from random ones"
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items() if version)
    yield f"seed {facts['seed']}; {versions}"


def _figures(figures: dict[str, Any] | None) -> str:
    if figures is None:
        return "There are no figures of exactly these weights; `byol-eval` measures them."
    on = figures["measured_on"]
    if on is None:
        ranks = [f"{name} {value:.3f}" for name, value in _ranks(figures) if value is not None]
        told = f" Effective rank of the features, from 0 (all alike) to 1 (spread evenly): {', '.join(ranks)}."
        return f"No accuracies: the images had no labels.{told if ranks else ''}"
    rows = {"trained": figures, "untrained": figures["untrained"], "raw pixels": figures["pixels"]}
    lines = [f"| | {' | '.join(_COLUMNS.values())} |", "| --- " * (len(_COLUMNS) + 1) + "|"]
    for name, scores in rows.items():
        if scores:
            lines.append(f"| {name} | {' | '.join(_score(scores.get(column)) for column in _COLUMNS)} |")
    return f"Accuracy on {_MEASURED_ON[on]}, with frozen weights:\n\n" + "\n".join(lines)


def _ranks(figures: dict[str, Any]) -> Iterator[tuple[str, float | None]]:
    yield "trained", figures["effective_rank"]
    yield "untrained", figures["untrained"].get("effective_rank")


def _score(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _numbers(values: list[float]) -> str:
    return ", ".join(f"{value:.4g}" for value in values)
