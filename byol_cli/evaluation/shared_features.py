"""Features that the processes of a job extract together, each image in one of them."""

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from byol_cli.data.sources import Subset
from byol_cli.evaluation.features import extract_features
from byol_cli.model.backbones import Backbone
from byol_cli.training.distributed import own_share, rows_of_all, take_buffers_of_first
from byol_cli.training.ranks import is_first, together
from byol_cli.training.runtime import Runtime


def features_of_all(
    backbone: Backbone, subset: Subset, *, batches: Callable[[Subset], Iterable[Tensor]], runtime: Runtime
) -> Tensor:
    """As `extract_features` gives them for all of `subset`, in every process.

    Args:
        backbone: the same in all; BatchNorm's statistics are taken from the first.
        subset: the same in all.
        batches: the images of a part in order.
        runtime: device and precision.
    """
    take_buffers_of_first(backbone)
    own = own_share(subset)

    def extract() -> Tensor:
        if not len(own):
            return torch.empty(0, backbone.feature_dim, dtype=runtime.autocast_dtype)
        return extract_features(backbone, batches(own), device=runtime.device, autocast=runtime.autocast_dtype)

    return rows_of_all(together(extract), device=runtime.device)


class SharedFeatures:
    """Features that were extracted together; the first process measures with them, as if it had extracted them all."""

    def __init__(self, *, batches: Callable[[Subset], Iterable[Tensor]], runtime: Runtime) -> None:
        """None yet; `batches` and `runtime` as above."""
        self._batches, self._runtime = batches, runtime
        self._kept: dict[tuple[int, bytes], Tensor] = {}

    def extract(self, backbone: Backbone, subset: Subset) -> None:
        """In all processes at once."""
        features = features_of_all(backbone, subset, batches=self._batches, runtime=self._runtime)
        if is_first():
            self._kept[id(backbone), _name(subset)] = features

    def __call__(self, backbone: nn.Module, subset: Subset, extract: Callable[[], Tensor], *, what: str = "") -> Tensor:
        """Those of the centres of a part that was extracted together; of anything else what `extract` gives."""
        kept = None if what else self._kept.get((id(backbone), _name(subset)))
        return extract() if kept is None else kept


def _name(subset: Subset) -> bytes:
    return subset.images.fingerprint.encode() + subset.indices.tobytes()
