"""The supervised baseline: the same backbone from random weights, with all labels, for as long as the pre-training."""

from collections.abc import Callable, Iterator

from byol_cli.data.sources import Splits
from byol_cli.evaluation.classifier import Reading, epochs_for, from_scratch
from byol_cli.evaluation.results import Result
from byol_cli.evaluation.task import task_of
from byol_cli.evaluation.tuned import training_settings, tune_and_test
from byol_cli.model.backbones import Backbone
from byol_cli.schema.finetune import SupervisedConfig
from byol_cli.training.runtime import Runtime


def supervised_results(
    config: SupervisedConfig,
    *,
    splits: Splits,
    make_backbone: Callable[[], Backbone],
    pretraining_epochs: int,
    reading: Reading,
    runtime: Runtime,
    seed: int,
    log: Callable[[str], None],
) -> Iterator[Result]:
    """One result, of representation `scratch`.

    Args:
        config: how to train.
        splits: training images, the selection split that chooses the learning rate, and the test set, touched once.
        make_backbone: the backbone with random weights from torch's generator, new each time.
        pretraining_epochs: for how long to train where `config.epochs` is null.
        reading: how images come to the device.
        runtime: where it is trained, and in which precision.
        seed: of random weights, and of the order and crops of the images.
        log: is told in one line what was reached.

    Raises:
        InputError: there are no labels, or one class alone.
        TrainingFault: training diverged with every learning rate.
    """
    task = task_of(splits, measure="supervised")
    tested = tune_and_test(
        from_scratch(make_backbone),
        task.train,
        task=task,
        config=config,
        learning_rates=config.learning_rates,
        epochs=epochs_for(len(task.train), config, epochs=config.epochs or pretraining_epochs, seed=seed),
        reading=reading,
        runtime=runtime,
        seed=seed,
        title="supervised",
    )
    log(f"supervised: top-1 {tested.figures['top1']:.3f} on {task.measured_on}")
    yield Result(
        measure="supervised",
        representation="scratch",
        measured_on=task.measured_on,
        settings={**training_settings(config, tested, task=task, reading=reading), "seed": seed},
        **tested.scores,
    )
