"""A network trained with labels, its learning rate chosen on the selection split."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from byol_cli.data.sources import Subset
from byol_cli.evaluation.classifier import Classifier, Epochs, Reading, Start, predict, train_classifier
from byol_cli.evaluation.scoring import classification, ranked
from byol_cli.evaluation.task import Task
from byol_cli.schema.errors import TrainingFault
from byol_cli.schema.finetune import ClassifierConfig
from byol_cli.training.runtime import Runtime


@dataclass(frozen=True, kw_only=True)
class Tested:
    """A network that was trained on `train_images` for `epochs`, `steps` in all, and tested on `measured_images`.

    `scores` are what `classification` tells of it; `learning_rate` is the backbone's, `selection_top1` its accuracy on
    the selection split, None where that did not choose.
    """

    scores: dict[str, Any]
    learning_rate: float
    head_learning_rate: float
    selection_top1: float | None
    train_images: int
    measured_images: int
    epochs: int
    steps: int

    @property
    def figures(self) -> dict[str, float]:
        """top1, and top5 where there are more than five classes: accuracies in [0, 1]."""
        return self.scores["figures"]


def tune_and_test(
    start: Start,
    train: Subset,
    *,
    task: Task,
    config: ClassifierConfig,
    learning_rates: Sequence[float],
    epochs: Epochs,
    reading: Reading,
    runtime: Runtime,
    seed: int,
    title: str,
) -> Tested:
    """Train with each learning rate, and measure the network that is best on the selection split; the lowest of equals.

    It is not trained again with the selection split's labels: few labels stay few. Without a split that chooses, the
    middle learning rate is taken unseen.

    Raises:
        TrainingFault: it diverged with every learning rate.
    """
    rates = sorted(learning_rates)
    if task.chooser is None:
        rates = [rates[len(rates) // 2]]
    chooses = len(rates) > 1
    best: tuple[float, float, Classifier] | None = None
    for rate in rates:
        classifier = train_classifier(
            start,
            train,
            config=config,
            epochs=epochs,
            peak=rate,
            num_classes=len(task.class_names),
            reading=reading,
            runtime=runtime,
            seed=seed,
            title=f"{title}, learning rate {rate:g}",
        )
        top1 = _top1(classifier, task.chooser, reading, runtime) if chooses and task.chooser else 0.0
        if best is None or top1 > best[0]:
            best = top1, rate, classifier
    assert best is not None
    top1, rate, classifier = best
    logits, labels = predict(classifier, task.measured, reading=reading, runtime=runtime)
    if not logits.isfinite().all():
        tried = ", ".join(f"{rate:g}" for rate in rates)
        raise TrainingFault(f"{title}: training diverged with learning_rates=[{tried}]; it takes lower ones")
    return Tested(
        scores=classification(ranked(logits), labels, class_names=task.class_names, seed=seed),
        learning_rate=rate,
        head_learning_rate=rate * start.head_factor,
        selection_top1=top1 if chooses else None,
        train_images=len(train),
        measured_images=len(labels),
        steps=len(epochs),
        epochs=epochs.epochs,
    )


def _top1(classifier: Classifier, subset: Subset, reading: Reading, runtime: Runtime) -> float:
    """Accuracy in [0, 1]; -1 for a network that has diverged."""
    logits, labels = predict(classifier, subset, reading=reading, runtime=runtime)
    return float((logits.argmax(dim=1) == labels).double().mean()) if logits.isfinite().all() else -1.0


def training_settings(config: ClassifierConfig, tested: Tested, *, task: Task, reading: Reading) -> dict[str, Any]:
    """For a Result: every setting, how many images and steps came of them, and the learning rates chosen."""
    return {
        **asdict(config),
        **reading.crop_settings,
        "train_images": tested.train_images,
        "measured_images": tested.measured_images,
        "skipped_images": len(task.measured) - tested.measured_images,
        "steps": tested.steps,
        "epochs": tested.epochs,
        "learning_rate": tested.learning_rate,
        "head_learning_rate": tested.head_learning_rate,
        "selection_top1": tested.selection_top1,
    }
