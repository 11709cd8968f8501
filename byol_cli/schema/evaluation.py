"""The measurements of a representation; a measurement whose node is null is left out."""

from dataclasses import dataclass

from byol_cli.schema.constraints import Count, Factor, NumDraws, ProbeEpochs, Regularization, Seed, Temperature
from byol_cli.schema.errors import InputError

MAX_LEARNING_RATES = 100  # each trains a classifier of its own, all at once


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Linear probe by SGD on frozen features (paper section 4.1); the selection split chooses the learning rate."""

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
class FewLabelConfig:
    """Logistic regression on `labels_per_class` labels a class; mean over `draws` random draws of them."""

    labels_per_class: Count
    draws: NumDraws
    regularization: Regularization
    seed: Seed


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`evaluation=[linear,knn]` picks measurements."""

    linear: LinearConfig | None
    knn: KnnConfig | None
    few_label: FewLabelConfig | None
