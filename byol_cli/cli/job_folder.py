"""A job's folder below its sweep's: named by what was asked for, so that the same job finds its own again."""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import ListConfig, OmegaConf

import byol_cli
from byol_cli.cli.command import DONE, FAULT, Outcome
from byol_cli.schema.trainer import TrainerConfig
from byol_cli.training.files import write_whole

RECORD = "job.json"
_LENGTH = 10  # hexadecimal digits: among 10,000 jobs, two share a name once in 20,000 sweeps

# Whether and how a job is watched, which makes it no other job.
WATCHING = frozenset(
    "resume resume_force trainer.recorders trainer.stop_early trainer.stop_early_after trainer.stop_early_runs".split()
)


def job_name(words: Sequence[str]) -> str:
    """The folder's name for a job of the overrides `words`, whatever their order."""
    counted = sorted(word for word in words if key_of(word) not in WATCHING)
    return hashlib.sha256("\n".join(counted).encode()).hexdigest()[:_LENGTH]


def key_of(word: str) -> str:
    """`optimizer.lr` of `+optimizer.lr=0.1`."""
    return word.partition("=")[0].lstrip("+~")


def _name_of_node(words: ListConfig) -> str:
    return job_name(OmegaConf.to_container(words, resolve=False))  # type: ignore[arg-type]


# For hydra.sweep.subdir; a launcher's process gets it by importing what it is to do.
OmegaConf.register_new_resolver("job_name", _name_of_node, replace=True)


@dataclass(frozen=True)
class JobRecord:
    """job.json: what was asked for, and how the newest attempt ended.

    Attributes:
        overrides: of the job.
        exit_code: as that of a single run; None: it has not ended, or its process was killed.
        message: one line on why it did not succeed.
        version: of byol-cli.
    """

    overrides: list[str]
    exit_code: int | None = None
    message: str = ""
    version: str = byol_cli.__version__

    def write(self, run_dir: Path) -> None:
        """Raises OSError where it cannot be written."""
        write_whole(run_dir / RECORD, json.dumps(asdict(self), indent=2))


def record_in(run_dir: Path) -> JobRecord | None:
    """None where no job was begun, or its record is damaged."""
    values = read_object(run_dir / RECORD)
    try:
        record = JobRecord(**values)
    except TypeError:
        return None
    sound = (
        isinstance(record.overrides, list)
        and all(isinstance(word, str) for word in record.overrides)
        and (record.exit_code is None or type(record.exit_code) is int)
        and isinstance(record.message, str)
    )
    return record if sound else None


def read_object(path: Path) -> Mapping[str, Any]:
    """A JSON object, empty where there is none or it is damaged."""
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return values if isinstance(values, dict) else {}


def finished_before(run_dir: Path, trainer: TrainerConfig) -> Outcome | None:
    """How the job in `run_dir` came to its end; None where there is something left to do.

    A job that was stopped early has come to its end as long as the rule that stopped it is in force.
    """
    summary = read_object(run_dir / "summary.json")
    in_force = {"median": trainer.stop_early == "median", "collapse": trainer.on_collapse == "stop"}
    score = summary.get("selection_score")
    score = score if isinstance(score, float) else math.nan
    if summary.get("status") == "done":
        return Outcome(DONE, score=score)
    if in_force.get(str(summary.get("stopped_by")), False):
        return Outcome(FAULT, score=score, message=str(summary.get("message")))
    return None
