"""Derived numbers of a run: steps, scaled learning rate, tau. Computed once, printed, never written back."""

from dataclasses import dataclass

from byol_cli.data.sampler import steps_per_epoch
from byol_cli.optim.schedules import learning_rate, scaled_learning_rate, scaled_tau, tau, warmup_steps
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError


@dataclass(frozen=True)
class TrainingPlan:
    """Everything a step's number determines."""

    config: TrainConfig
    steps_per_epoch: int
    total_steps: int
    warmup_steps: int
    peak_learning_rate: float

    def learning_rate(self, step: int) -> float:
        """Warm-up, then cosine or constant (paper section 3.3)."""
        return learning_rate(
            step,
            peak=self.peak_learning_rate,
            warmup_steps=self.warmup_steps,
            total_steps=self.total_steps,
            schedule=self.config.optimizer.schedule,
        )

    def tau(self, step: int) -> float:
        """The target's decay rate at `step` (paper section 3.3), scaled where a reference batch size is set."""
        ema = self.config.ema
        return scaled_tau(
            tau(step, base_tau=ema.base_tau, total_steps=self.total_steps, schedule=ema.name),
            batch_size=self.config.trainer.batch_size,
            reference_batch_size=ema.reference_batch_size,
        )

    @property
    def num_epochs(self) -> int:
        """Epochs begun, the last one perhaps not finished."""
        return -(-self.total_steps // self.steps_per_epoch)


def make_plan(config: TrainConfig, num_images: int) -> TrainingPlan:
    """Lay out a run over `num_images` training images.

    Raises:
        InputError: the batch is larger than the data set.
    """
    trainer, optimizer = config.trainer, config.optimizer
    epoch_steps = steps_per_epoch(num_images=num_images, batch_size=trainer.batch_size)
    total_steps = trainer.steps or trainer.epochs * epoch_steps
    warmup = warmup_steps(
        total_steps=total_steps,
        steps_per_epoch=epoch_steps,
        warmup_epochs=optimizer.warmup_epochs,
        warmup_fraction=optimizer.warmup_fraction,
    )
    if warmup >= total_steps:
        raise InputError(
            f"optimizer.warmup_epochs={optimizer.warmup_epochs:g} must be below the run's {total_steps} steps"
        )
    return TrainingPlan(
        config=config,
        steps_per_epoch=epoch_steps,
        total_steps=total_steps,
        warmup_steps=warmup,
        peak_learning_rate=scaled_learning_rate(optimizer.lr, batch_size=trainer.batch_size, scale=optimizer.scale_lr),
    )
