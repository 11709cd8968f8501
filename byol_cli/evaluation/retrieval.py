"""Recognition (faces, products, re-identification): search and verification by cosine, nothing trained."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
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
from byol_cli.evaluation.scoring import means
from byol_cli.evaluation.search import DECIMALS, search_values
from byol_cli.evaluation.task import measured_part
from byol_cli.evaluation.verification import roc, verification_figures
from byol_cli.schema.errors import InputError
from byol_cli.schema.retrieval import RetrievalConfig

COMPARED_VALUES = 2**24  # of the images of pairs at once: 64 MB a side


@dataclass(frozen=True, eq=False)
class RetrievalPlan:
    """What there is to measure on.

    Attributes:
        searched: parts of the data with labelled images; empty where there are no labels.
        measured_on: test, selection or train, or all of them.
        named: the images of a file of pairs and those pairs; None where they are drawn from the labels.
    """

    searched: list[Subset]
    measured_on: str
    named: tuple[list[Subset], Pairs] | None

    @property
    def labels(self) -> Tensor:
        """Of the images of `searched`, int64 `(images,)`."""
        return torch.cat([labels_of(part) for part in self.searched])


def plan_retrieval(config: RetrievalConfig, splits: Splits, *, unseen: bool) -> RetrievalPlan:
    """Among what `config.among` says, and whatever images a file of pairs names.

    Args:
        config: what to measure.
        splits: nothing is trained on any of their labels.
        unseen: whether the backbone was trained on none of these images: then auto takes them all.

    Raises:
        InputError: there are no labels and no pairs, one class alone, or the file of pairs is wrong.
    """
    whole = config.among == "all" or (config.among == "auto" and unseen)
    measured_on, part = ("all", None) if whole else measured_part(splits)
    parts = [part] if part else [splits.train, splits.selection, *([splits.test] if splits.test else [])]
    searched = [part.labelled() for part in parts if part.has_labels and len(part.labelled())]
    plan = RetrievalPlan(searched, measured_on, None)
    if searched and len(plan.labels.unique()) < 2:
        raise InputError(f"evaluation=retrieval needs two classes or more, but its {measured_on} images are of one")
    if config.pairs is None:
        if not searched:
            raise InputError("evaluation=retrieval needs labels, or evaluation.retrieval.pairs=FILE; there are none")
        if len(plan.labels.unique()) == len(plan.labels):
            remedy = "" if whole else "; evaluation.retrieval.among=all takes all labelled images, not only these"
            raise InputError(
                f"evaluation=retrieval: no two of its {len(plan.labels):,} images are of the same class{remedy}"
            )
        return plan
    named = read_pairs(Path(config.pairs).expanduser(), _image_sets(splits))
    _refuse_one_kind(named[1], config)
    return replace(plan, named=named)


def retrieval_results(
    config: RetrievalConfig,
    *,
    plan: RetrievalPlan,
    features: Mapping[str, Callable[[Subset], Tensor]],
    device: torch.device,
    seed: int,
) -> Iterator[Result]:
    """For each of `features` search and verification in one result; two where a file names the pairs.

    Images that cannot be read are left out. Settings hold points of the ROC, `roc`, beside how many images and pairs
    were compared. Intervals are over queries: among other images than these, figures may differ by more.

    Args:
        config: what to measure.
        plan: on which images.
        features: by representation (trained, untrained, pixels): a part to its features `(images, dim)` on the CPU,
            NaN rows where an image could not be read.
        device: where images are compared.
        seed: of the pairs drawn and the bootstrap.

    Raises:
        InputError: with what can be read, nothing can be compared.
    """

    def result(representation: str, measured_on: str, settings: dict[str, Any], **found: Any) -> Result:
        return Result(
            measure="retrieval",
            representation=representation,
            measured_on=measured_on,
            settings={**asdict(config), **settings, "seed": seed},
            **found,
        )

    for representation, of in features.items():
        if plan.searched:
            found = torch.cat([of(part) for part in plan.searched])
            compared, labels = without_missing(found, plan.labels)
            scores = means(search_values(compared.to(device), labels.to(device), ks=config.k), seed=seed)
            settings: dict[str, Any] = {"images": len(labels), "skipped_images": len(found) - len(labels)}
            if plan.named is None:
                pairs = draw_pairs(labels.numpy(), num_pairs=config.num_pairs, seed=seed)
                figures, of_pairs = _verified(compared, pairs, config, device)
                scores["figures"] |= figures
                settings |= of_pairs | {"pairs": "drawn"}
            yield result(representation, plan.measured_on, settings, **scores)
        if plan.named is not None:
            compared = torch.cat([of(part) for part in plan.named[0]])
            figures, of_pairs = _verified(compared, _readable(plan.named[1], compared), config, device)
            yield result(representation, "pairs", of_pairs, figures=figures)


def _verified(
    features: Tensor, pairs: Pairs, config: RetrievalConfig, device: torch.device
) -> tuple[dict[str, float], dict[str, Any]]:
    """Figures, and what they were got from."""
    _refuse_one_kind(pairs, config)
    curve, different = roc(_similarities(features, pairs, device), pairs.same), int((~pairs.same).sum())
    figures = verification_figures(curve, rates=config.false_accept_rates, num_different=different)
    return figures, {
        "same_pairs": len(pairs) - different,
        "different_pairs": different,
        "roc": curve.points(),
    }


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
