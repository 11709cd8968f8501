"""Recognition (faces, products, re-identification): search and verification by cosine, nothing trained."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from byol_cli.data.images import ImageSet
from byol_cli.data.sources import Splits, Subset
from byol_cli.evaluation.features import labels_of, missing_rows, without_missing
from byol_cli.evaluation.pairs import Pairs, draw_pairs, read_pairs
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.search import DECIMALS, search_figures
from byol_cli.evaluation.verification import roc, verification_figures
from byol_cli.schema.errors import InputError
from byol_cli.schema.retrieval import RetrievalConfig

COMPARED_VALUES = 2**24  # of the images of pairs at once: 64 MB a side


@dataclass(frozen=True, eq=False)
class RetrievalPlan:
    """What there is to measure on.

    Attributes:
        searched: labelled images; None where there are none.
        measured_on: which part of the data they are: test, selection or train; pairs where there are none.
        named: the images of a file of pairs and those pairs; None where they are drawn from the labels.
    """

    searched: Subset | None
    measured_on: str
    named: tuple[list[Subset], Pairs] | None


def plan_retrieval(config: RetrievalConfig, splits: Splits) -> RetrievalPlan:
    """Among the test images, else the selection split, else all labelled images, and whatever images a file names.

    Raises:
        InputError: there are no labels and no pairs, one class alone, or the file of pairs is wrong.
    """
    parts = {"test": splits.test, "selection": splits.selection, "train": splits.train}
    labelled = {name: part.labelled() for name, part in parts.items() if part is not None and part.has_labels}
    measured_on, searched = next(((name, part) for name, part in labelled.items() if len(part)), ("pairs", None))
    if searched is not None and len(labels_of(searched).unique()) < 2:
        raise InputError(f"evaluation=retrieval needs two classes or more, but its {measured_on} images are of one")
    if config.pairs is None:
        if searched is None:
            raise InputError("evaluation=retrieval needs labels, or evaluation.retrieval.pairs=FILE; there are none")
        if len(labels_of(searched).unique()) == len(searched):
            raise InputError(f"evaluation=retrieval: no two of its {len(searched):,} images are of the same class")
        return RetrievalPlan(searched, measured_on, None)
    named = read_pairs(Path(config.pairs).expanduser(), _image_sets(splits))
    _refuse_one_kind(named[1], config)
    return RetrievalPlan(searched, measured_on, named)


def retrieval_results(
    config: RetrievalConfig,
    *,
    splits: Splits,
    features: Mapping[str, Callable[[Subset], Tensor]],
    device: torch.device,
    seed: int,
) -> list[Result]:
    """One result for each of `features`; images that cannot be read are left out.

    Its settings hold points of the ROC, `roc`, beside how many images and pairs were compared.

    Args:
        config: what to measure.
        splits: the images: see `plan_retrieval`.
        features: by representation (trained, untrained, pixels): a part to its features `(images, dim)` on the CPU,
            NaN rows where an image could not be read.
        device: where images are compared.
        seed: of the pairs drawn.

    Raises:
        InputError: as `plan_retrieval`; or with what can be read, nothing can be compared.
    """
    plan = plan_retrieval(config, splits)
    results = []
    for representation, of in features.items():
        figures: dict[str, float] = {}
        settings: dict[str, Any] = {"k": config.k, "seed": seed}
        if plan.searched is not None:
            compared, labels = without_missing(of(plan.searched), labels_of(plan.searched))
            figures |= search_figures(compared.to(device), labels.to(device), ks=config.k)
            settings["images"] = len(labels)
        if plan.named is not None:
            compared = torch.cat([of(part) for part in plan.named[0]])
            pairs, origin = _readable(plan.named[1], compared), config.pairs
        else:
            pairs, origin = draw_pairs(labels.numpy(), num_pairs=config.num_pairs, seed=seed), "drawn"
        _refuse_one_kind(pairs, config)
        curve, different = roc(_similarities(compared, pairs, device), pairs.same), int((~pairs.same).sum())
        figures |= verification_figures(curve, rates=config.false_accept_rates, num_different=different)
        settings |= {"pairs": origin, "same_pairs": len(pairs) - different, "different_pairs": different}
        results.append(
            Result(
                measure="retrieval",
                representation=representation,
                measured_on=plan.measured_on,
                figures=figures,
                settings={**settings, "roc": curve.points()},
            )
        )
    return results


def _image_sets(splits: Splits) -> list[ImageSet]:
    parts = [splits.train, splits.pretrain, *([] if splits.test is None else [splits.test])]
    return list({id(part.images): part.images for part in parts}.values())


def _readable(pairs: Pairs, features: Tensor) -> Pairs:
    missing = missing_rows(features).numpy()
    return pairs.take(~(missing[pairs.first] | missing[pairs.second]))


def _refuse_one_kind(pairs: Pairs, config: RetrievalConfig) -> None:
    """Verification takes pairs of one class and pairs of two; raises InputError."""
    source = "evaluation=retrieval" if config.pairs is None else f"evaluation.retrieval.pairs={config.pairs}"
    for kind, words in ((pairs.same, "of one class"), (~pairs.same, "of two classes")):
        if not kind.any():
            raise InputError(f"{source}: none of {len(pairs):,} pairs of images is {words}, and it takes both")


@torch.no_grad()
def _similarities(features: Tensor, pairs: Pairs, device: torch.device) -> np.ndarray:
    """Cosines, float32 `(pairs,)`."""
    size = max(1, COMPARED_VALUES // features.shape[1])
    parts = []
    for start in range(0, len(pairs), size):
        first, second = (
            features[torch.from_numpy(side[start : start + size])].to(device).float()
            for side in (pairs.first, pairs.second)
        )
        parts.append(F.cosine_similarity(first, second, dim=1).round_(decimals=DECIMALS).cpu())
    return torch.cat(parts).numpy()
