"""Does speed cost accuracy? Trains every seed both ways and prints the results beside each other, in Markdown.

python scripts/accuracy.py [overrides of byol-train ...] [--seeds 0,1,2] [--paths fast,slow]
    fast  the product as it is
    slow  float32, and the views made image by image with torchvision's functional operators, from the same draws
"""

import argparse
import contextlib
import statistics
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

from byol_cli.cli.command import DONE, Outcome, guarded, run_job
from byol_cli.schema.errors import InputError

PROGRAM = "accuracy.py"
PATHS = ("fast", "slow")
FIGURES = {"linear": "linear_top1", "k-NN": "knn_top1", "few-label": "few_label_top1", "seconds": "seconds"}

Summary = dict[str, Any]


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    words = parse(argv)
    seeds, paths = numbers(words.seeds), chosen(words.paths)

    from benchmarks.report import header, machine

    summaries: dict[tuple[str, int], Summary] = {}
    for seed in seeds:
        for path in paths:
            with TemporaryDirectory() as folder:
                outcome, summary = train(path, [*words.overrides, f"seed={seed}"], Path(folder))
            if outcome.exit_code != DONE:
                return outcome.exit_code
            summaries[path, seed] = summary
    command = " ".join(["byol-train", *words.overrides])
    print(f"{header(machine())}, `{command}`\n\n{table(summaries, paths, seeds)}")
    return DONE


def parse(argv: list[str]) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("overrides", nargs="*", help="of byol-train")
    parser.add_argument("--seeds", default="0,1,2", help="default: 0,1,2")
    parser.add_argument("--paths", default=",".join(PATHS), help="default: fast,slow")
    return parser.parse_intermixed_args(argv)


def numbers(text: str) -> list[int]:
    """The seeds of a list with commas; raises InputError."""
    seeds = text.split(",")
    if not all(seed.isdecimal() for seed in seeds):
        raise InputError(f"--seeds={text} must be whole numbers with commas between them")
    return [int(seed) for seed in seeds]


def chosen(text: str) -> list[str]:
    """The paths of a list with commas; raises InputError."""
    paths = text.split(",")
    for path in paths:
        if path not in PATHS:
            raise InputError(f"--paths={text}: {path} is none of {', '.join(PATHS)}")
    return paths


def train(path: str, overrides: Sequence[str], folder: Path) -> tuple[Outcome, Summary]:
    """One run in `folder` to its end; what it prints goes to stderr. Raises InputError."""
    from benchmarks.product import prepared
    from reference_views import ReferenceViews

    from byol_cli.cli.session import run_to_end
    from byol_cli.training.interrupt import StopRequest
    from byol_cli.training.recorder import read_json
    from byol_cli.views.pipeline import TwoViews

    run = prepared(overrides if path == "fast" else [*overrides, "trainer.precision=fp32"])
    if path == "slow":
        augmentation = run.config.augmentation
        if augmentation.formulas != "torchvision":
            raise InputError(f"augmentation.formulas={augmentation.formulas}: the slow path knows torchvision alone")
        views = ReferenceViews(
            view1=augmentation.view1,
            view2=augmentation.view2,
            image_size=augmentation.image_size,
            seed=run.config.seed,
        )
        run = replace(run, views=cast(TwoViews, views))
    with contextlib.redirect_stdout(sys.stderr):
        outcome = run_job(PROGRAM, lambda: run_to_end(run, folder, stop=StopRequest(program=PROGRAM)))
    return outcome, read_json(folder / "summary.json") or {}


def table(summaries: dict[tuple[str, int], Summary], paths: Sequence[str], seeds: Sequence[int]) -> str:
    """A row a run, and one a path with the medians of its runs, in Markdown."""
    from benchmarks.report import markdown

    rows = [["path", "seed", *FIGURES]]
    for path in paths:
        runs = [summaries[path, seed] for seed in seeds]
        rows += [[path, str(seed), *figures([run])] for seed, run in zip(seeds, runs, strict=True)]
        rows.append([path, "median", *figures(runs)])
    return markdown(rows)


def figures(runs: Sequence[Summary]) -> list[str]:
    """The medians of the runs' figures; a dash for what was not measured."""
    cells = []
    for name in FIGURES.values():
        values = [run[name] for run in runs if run[name] is not None]
        digits = 0 if name == "seconds" else 3
        cells.append(f"{statistics.median(values):.{digits}f}" if values else "-")
    return cells


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
