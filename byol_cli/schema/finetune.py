"""Networks trained with labels: the pre-trained backbone further, and the same one from random weights."""

from dataclasses import dataclass
from typing import Annotated

from byol_cli.schema.constraints import (
    Count,
    Factor,
    FactorOrZero,
    NumDraws,
    ProbeEpochs,
    Range,
    UnitInterval,
    refuse_repeats,
)
from byol_cli.schema.errors import InputError

MAX_RATES = 20  # each trains a network of its own, one after another

# BatchNorm takes a variance over the batch.
BatchSize = Annotated[int, Range(low=2, cap=10**12)]


@dataclass(frozen=True, kw_only=True)
class ClassifierConfig:
    """SGD with Nesterov momentum 0.9 and a cosine; `learning_rates` are the backbone's, for a batch of 256 images.

    The selection split chooses among them. From random weights the head has the same one. `weight_decay` leaves out
    biases and norm parameters. Where labels are few, each network is trained for `min_steps` at least.
    """

    min_steps: Count
    batch_size: BatchSize
    learning_rates: list[Factor]
    weight_decay: FactorOrZero

    def __post_init__(self) -> None:
        if not 1 <= len(self.learning_rates) <= MAX_RATES:
            raise InputError(f"learning_rates has {len(self.learning_rates)} numbers, it takes 1 to {MAX_RATES}")


@dataclass(frozen=True, kw_only=True)
class FinetuneConfig(ClassifierConfig):
    """Fine-tuning, and as much training from random weights beside it.

    Onto a trained backbone the head is put with `head_factor` times the backbone's learning rate.
    One measurement for each of `fractions` (1 stands for all labels) and of `labels_per_class`; where not all labels
    are taken, the mean over `draws` random draws of them.
    """

    epochs: ProbeEpochs
    head_factor: Factor
    fractions: list[UnitInterval]
    labels_per_class: list[Count]
    draws: NumDraws

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.fractions and not self.labels_per_class:
            raise InputError("fractions=[] and labels_per_class=[]: give at least one number of either")
        refuse_repeats(labels_per_class=self.labels_per_class, fractions=self.fractions)


@dataclass(frozen=True, kw_only=True)
class SupervisedConfig(ClassifierConfig):
    """All labels, from random weights; `epochs` is null for as many as the backbone was pre-trained for."""

    epochs: ProbeEpochs | None
