"""format=onnx: a graph from normalised images to features, for any batch size."""

import logging
import warnings
from pathlib import Path

import torch

from byol_cli.export.extras import require
from byol_cli.export.metadata import metadata
from byol_cli.export.trained import TrainedBackbone
from byol_cli.model.refusal import refusing

IMAGES, FEATURES = "images", "features"


def check_onnx(trained: TrainedBackbone) -> None:
    """It takes every backbone that torch can trace; raises InputError where a package is missing."""
    require("onnx", "onnxscript", extra="onnx", setting="format=onnx")


def write_onnx(trained: TrainedBackbone, path: Path) -> None:
    """One file, weights inside; input `images`, output `features`.

    Raises:
        InputError: torch cannot make a graph of this backbone.
    """
    example = torch.zeros(2, trained.channels, trained.image_size, trained.image_size)
    # The exporter tells of its own internals: deprecated names in torch, operators of packages that are not there.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with refusing(f"{trained.backbone.setting} cannot become an ONNX graph"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            trained.backbone,
            (example,),
            input_names=[IMAGES],
            output_names=[FEATURES],
            dynamic_shapes={"images": {0: "batch"}},
            dynamo=True,
            verbose=False,
        )
        assert program is not None  # it is None for the older exporter alone
        program.model.metadata_props.update(metadata(trained))
        for node in program.model.graph.all_nodes():
            node.metadata_props.clear()  # where in which file of this machine the operation was written
    program.save(path, external_data=False)


def onnx_code(trained: TrainedBackbone, file_name: str) -> str:
    """Python that makes `model`, a function of a tensor."""
    return f"""\
import onnxruntime
import torch

session = onnxruntime.InferenceSession({file_name!r})


def model(images):
    (features,) = session.run(None, {{{IMAGES!r}: images.numpy()}})
    return torch.from_numpy(features)"""
