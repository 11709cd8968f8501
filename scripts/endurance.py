"""Does a long run grow? Watches memory, open files and threads of byol-train and of its workers over many steps.

python scripts/endurance.py [--steps 2000] [--epochs 20] [--workers 2] [OVERRIDE ...]

It trains a small network on small image files that it makes itself, with gauges, probes and frequent checkpoints. Each
figure's median over the first third of the steps after the warm-up is compared with that over the last third; the
command ends with 1 where one has grown by more than is stated. Linux only.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import processes

from byol_cli.cli.command import BUG, DONE, Outcome, complain, guarded
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import quoted

PROGRAM = "endurance.py"
BATCH, SIDE = 16, 40
SECONDS_BETWEEN = 0.25
WARM_UP = 0.1  # of the steps
FEWEST = 5  # samples in a third
HELD_OUT = ["dataset.test_fraction=0.1", "dataset.selection_fraction=0.1"]
WORDS = (
    "dataset=image_folder dataset.channels=3 augmentation=byol_32 backbone=resnet_small backbone.widths=[8,16] "
    "backbone.blocks=[1,1] head.hidden_dim=64 head.output_dim=32 optimizer=sgd optimizer.warmup_fraction=0.1 "
    f"optimizer.warmup_epochs=null trainer.device=cpu trainer.batch_size={BATCH} trainer.checkpoint_every_steps=50 "
    "trainer.gauges_every_steps=50 trainer.log_every_steps=5 evaluation=[knn]"
).split()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """Something that must not grow by more than `allowed` or by the share `allowed_share`, whichever is more."""

    name: str
    measure: Callable[[int], float]
    allowed: float
    allowed_share: float = 0.0


FIGURES = (
    Figure(name="main process, resident MB", measure=processes.resident_megabytes, allowed=10.0, allowed_share=0.02),
    Figure(
        name="with its workers, proportional MB",
        measure=lambda pid: sum(map(processes.proportional_megabytes, [pid, *processes.descendants(pid)])),
        allowed=10.0,
        allowed_share=0.02,
    ),
    Figure(name="open files", measure=processes.open_files, allowed=0.0),
    Figure(name="threads", measure=processes.threads, allowed=0.0),
    Figure(name="worker processes", measure=lambda pid: len(processes.descendants(pid)), allowed=0.0),
)


@dataclass(frozen=True, kw_only=True)
class Sample:
    """The value of each figure when `step` steps had been taken."""

    step: int
    values: Sequence[float]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The medians of a figure early and late in the run, and by how much the second may be above the first."""

    early: float
    late: float
    allowed: float

    @property
    def growth(self) -> float:
        """Above 0 where it has become more."""
        return self.late - self.early

    @property
    def passed(self) -> bool:
        """Whether that is no more than allowed."""
        return self.growth <= self.allowed


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    words = parse(argv)
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_images(folder / "images", number=words.steps // words.epochs * BATCH)
        try:
            samples = list(watched_run(words, folder))
            judgements = [judge(samples, place, figure) for place, figure in enumerate(FIGURES)]
        except ChildProcessError as error:
            return complain(PROGRAM, Outcome(BUG, message=str(error)))
    print(f"{samples[-1].step:,} steps, {words.epochs} epochs, {len(samples)} samples\n\n{table(judgements)}")
    return DONE if all(judgement.passed for judgement in judgements) else 1


def parse(argv: list[str]) -> argparse.Namespace:
    """The words of the command line; raises InputError."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of byol-train")
    parser.add_argument("--steps", type=int, default=2000, help="default: 2000")
    parser.add_argument("--epochs", type=int, default=20, help="that they are divided into (default: 20)")
    parser.add_argument("--workers", type=int, default=2, help="default: 2")
    words = parser.parse_intermixed_args(argv)
    if not 1 <= words.epochs <= words.steps:
        raise InputError(f"--epochs={words.epochs} must lie between 1 and --steps={words.steps}")
    if words.workers < 0:
        raise InputError(f"--workers={words.workers} must not be below 0")
    return words


def write_images(folder: Path, *, number: int) -> None:
    """PNG files of noise: as many to train on as `number` says, and those that are held out."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    folder.mkdir()
    for place in range(round(number / 0.9 / 0.9) + 2):
        Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(folder / f"{place:06}.png")


def watched_run(words: argparse.Namespace, folder: Path) -> Iterator[Sample]:
    """A run to its end, and what was measured while it trained; raises ChildProcessError where it fails."""
    run_dir, printed = folder / "run", folder / "printed"
    overrides = [*WORDS, *HELD_OUT, f"trainer.num_workers={words.workers}", f"trainer.steps={words.steps}"]
    paths = [f"dataset.root={quoted(folder / 'images')}", f"hydra.run.dir={quoted(run_dir)}"]
    with printed.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "byol_cli", *overrides, *words.overrides, *paths],
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        step = 0
        while process.poll() is None and step < words.steps:
            time.sleep(SECONDS_BETWEEN)
            step = newest_step(run_dir / "metrics.jsonl")
            if 0 < step < words.steps:
                yield Sample(step=step, values=[figure.measure(process.pid) for figure in FIGURES])
        if process.wait() != DONE:
            raise ChildProcessError(f"byol-train ended with exit code {process.returncode}: {printed.read_text()}")
    finally:
        process.kill()
        process.wait()


def newest_step(path: Path) -> int:
    """The step of the last whole line of metrics.jsonl; 0 where there is none."""
    lines = path.read_bytes().split(b"\n")[:-1] if path.is_file() else []
    return int(json.loads(lines[-1])["step"]) if lines else 0


def judge(samples: Sequence[Sample], place: int, figure: Figure) -> Judgement:
    """Compare the first and the last third of the steps after the warm-up.

    Raises:
        ChildProcessError: there are too few samples to tell.
    """
    last = samples[-1].step if samples else 0
    first = WARM_UP * last
    third = (last - first) / 3
    early = [sample.values[place] for sample in samples if first <= sample.step <= first + third]
    late = [sample.values[place] for sample in samples if sample.step >= last - third]
    if min(len(early), len(late)) < FEWEST:
        raise ChildProcessError(f"{len(samples)} samples are too few to tell: ask for more --steps")
    before = statistics.median(early)
    return Judgement(
        early=before,
        late=statistics.median(late),
        allowed=max(figure.allowed, figure.allowed_share * before),
    )


def table(judgements: Sequence[Judgement]) -> str:
    """A row a figure, in Markdown."""
    from benchmarks.report import markdown

    rows = [["", "first third", "last third", "growth", "allowed", ""]]
    for figure, judgement in zip(FIGURES, judgements, strict=True):
        numbers = [judgement.early, judgement.late, judgement.growth, judgement.allowed]
        verdict = "holds" if judgement.passed else "GROWS"
        rows.append([figure.name, *(f"{number:.4g}" for number in numbers), verdict])
    return markdown(rows)


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
