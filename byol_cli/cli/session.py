"""One run from its configuration to its figures. Imported late: torch comes with it."""

import math
import time
from pathlib import Path
from typing import Any

import yaml

from byol_cli.cli.command import DONE, INTERRUPTED, Outcome
from byol_cli.cli.resume import resume_command, resumed_config
from byol_cli.evaluation.evaluator import Evaluator
from byol_cli.evaluation.probe import OnlineProbe
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError, TrainingFault
from byol_cli.schema.load import plain
from byol_cli.training.checkpoint import read_checkpoint
from byol_cli.training.pretrain import pretrain
from byol_cli.training.recorder import read_json, write_json, write_whole
from byol_cli.training.setup import Run, prepare


def start(config: TrainConfig, run_dir: Path) -> Outcome:
    """A fresh run in `run_dir`."""
    return run_to_end(prepare(config, say=say), run_dir)


def go_on(run_dir: Path, words: list[str]) -> Outcome:
    """Go on with the run in `run_dir` from its latest checkpoint, or from step 0 where it had come to none."""
    summary = read_json(run_dir / "summary.json")
    if summary is not None and summary["status"] == "done":
        say(f"the run in {run_dir} is done; there is nothing left to do")
        return Outcome(DONE, score=summary["selection_score"])
    last = run_dir / "checkpoints" / "last.pt"
    checkpoint = read_checkpoint(last, field="resume") if last.exists() else None
    stored = checkpoint["config"] if checkpoint else yaml.safe_load((run_dir / "config.yaml").read_text())
    config = resumed_config(stored, words)
    run = prepare(config, say=say, checkpoint=checkpoint, source=str(last))
    say(f"going on from step {run.state.step:,} of {run.plan.total_steps:,}")
    return run_to_end(run, run_dir)


def run_to_end(run: Run, run_dir: Path) -> Outcome:
    """Train, measure, write summary.json, and print what was reached and where it lies."""
    began = time.monotonic()
    say(run.header())
    write_whole(run_dir / "config.yaml", yaml.safe_dump(plain(run.config), sort_keys=False))
    trainer = run.config.trainer
    probe = OnlineProbe(
        splits=run.splits,
        batches=run.evaluation_batches,
        runtime=run.runtime,
        max_images=trainer.probe_max_images,
        neighbors=trainer.probe_neighbors,
        temperature=trainer.probe_temperature,
    )
    try:
        result = pretrain(run, run_dir, probe=probe)
    except (TrainingFault, InputError) as fault:
        write_json(run_dir / "summary.json", {"status": "stopped", "steps": run.state.step, "message": str(fault)})
        raise
    summary: dict[str, Any] = {
        "status": result.status,
        "steps": run.state.step,
        "epochs": run.state.step / run.plan.steps_per_epoch,
        "images_per_second": result.images_per_second,
        "selection_score": result.selection_score,
    }
    if result.status == "interrupted":
        write_json(run_dir / "summary.json", {**summary, "seconds": time.monotonic() - began})
        message = f"interrupted and saved at step {run.state.step:,}; go on by: {resume_command(run_dir, run.config)}"
        return Outcome(INTERRUPTED, message=message)
    evaluator = Evaluator(
        splits=run.splits,
        config=run.config.evaluation,
        runtime=run.runtime,
        batches=run.evaluation_batches,
        seed=run.config.seed,
    )
    report = evaluator.report(run.state.online.backbone, untrained=run.untrained_backbone())
    write_json(run_dir / "summary.json", {**summary, **report.summary(), "seconds": time.monotonic() - began})
    say(f"\n{report.table()}\n\nrun folder: {run_dir}")
    return Outcome(DONE, score=math.nan if result.selection_score is None else result.selection_score)


def say(text: str) -> None:
    """Print for the person at the terminal, at once."""
    print(text, flush=True)
