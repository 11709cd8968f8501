"""The measurements of a representation; a measurement whose node is null is left out."""

from dataclasses import dataclass

from byol_cli.schema.constraints import Count, Positive, Seed
from byol_cli.schema.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LinearConfig:
    """Linear probe by SGD on frozen features (paper section 4.1); the selection split chooses the learning rate."""

    epochs: Count
    batch_size: Count
    learning_rates: list[Positive]

    def __post_init__(self) -> None:
        if not self.learning_rates:
            raise InputError("learning_rates=[] needs at least one number")


@dataclass(frozen=True, kw_only=True)
class KnnConfig:
    """Vote of the `neighbors` nearest training images by cosine, weighted by exp(similarity / temperature)."""

    neighbors: Count
    temperature: Positive


@dataclass(frozen=True, kw_only=True)
class FewLabelConfig:
    """Logistic regression on `labels_per_class` labels a class; mean over `draws` random draws of them."""

    labels_per_class: Count
    draws: Count
    regularization: Positive
    seed: Seed


@dataclass(frozen=True, kw_only=True)
class EvaluationConfig:
    """`evaluation=[linear,knn]` picks measurements."""

    linear: LinearConfig | None
    knn: KnnConfig | None
    few_label: FewLabelConfig | None
