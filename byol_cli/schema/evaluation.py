"""The measurements of a representation; a measurement whose node is null is left out."""

from dataclasses import dataclass
from typing import Literal

from byol_cli.schema.constraints import (
    Count,
    Factor,
    NumDraws,
    ProbeEpochs,
    Regularization,
    Temperature,
    UnitInterval,
    refuse_repeats,
)
from byol_cli.schema.errors import InputError
from byol_cli.schema.finetune import FinetuneConfig, SupervisedConfig
from byol_cli.schema.retrieval import RetrievalConfig

MAX_LEARNING_RATES = 100  # each trains a classifier of its own, all at once


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Linear probe by SGD on frozen features (paper section 4.1); the selection split chooses the learning rate.

    `mode` cached computes features once; augmented crops and flips the training images anew each epoch.
    """

    mode: Literal["cached", "augmented"]
    epochs: ProbeEpochs
    batch_size: Count
    learning_rates: list[Factor]

    def __post_init__(self) -> None:
        if not 1 <= len(self.learning_rates) <= MAX_LEARNING_RATES:
            raise InputError(
                f"learning_rates has {len(self.learning_rates)} numbers, it takes 1 to {MAX_LEARNING_RATES}"
            )


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Vote of the `neighbors` nearest training images by cosine, weighted by exp(similarity / temperature)."""

    neighbors: Count
    temperature: Temperature


@dataclass(frozen=True, kw_only=True)
class LogisticConfig:
    """Logistic regression by scikit-learn on the features of all training images: a reference for the linear probe."""

    regularization: Regularization


@dataclass(frozen=True, kw_only=True)
class FewLabelConfig:
    """Logistic regression on few labels: one measurement for each number a class and each fraction of all labels.

    Each is the mean over `draws` random draws.
    """

    labels_per_class: Count | list[Count]
    fractions: list[UnitInterval]
    draws: NumDraws
    regularization: Regularization

    def __post_init__(self) -> None:
        if not self.numbers_per_class and not self.fractions:
            raise InputError("labels_per_class=[] and fractions=[]: give at least one number of either")
        refuse_repeats(labels_per_class=self.numbers_per_class, fractions=self.fractions)

    @property
    def numbers_per_class(self) -> list[int]:
        """`labels_per_class` as a list."""
        return self.labels_per_class if isinstance(self.labels_per_class, list) else [self.labels_per_class]


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`evaluation=[linear,knn]` picks measurements."""

    linear: LinearConfig | None
    knn: KnnConfig | None
    logistic: LogisticConfig | None
    few_label: FewLabelConfig | None
    finetune: FinetuneConfig | None
    supervised: SupervisedConfig | None
    retrieval: RetrievalConfig | None
