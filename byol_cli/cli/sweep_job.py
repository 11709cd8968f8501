"""One job of a sweep, in this process or in one that a launcher began, here or on another machine."""

import math
import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

import byol_cli
from byol_cli.cli.command import INTERRUPTED, REFUSED, Outcome, complain, output_dir, run_job, warn
from byol_cli.cli.compose import load_config
from byol_cli.cli.folders import RunLock
from byol_cli.cli.job_folder import RECORD, JobRecord, record_in
from byol_cli.cli.stopping import is_stopped
from byol_cli.cli.streams import unbreakable_streams
from byol_cli.cli.sweep_plan import SweepPlan
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.training.files import tolerated
from byol_cli.training.interrupt import Interrupted, StopRequest

Job = Callable[..., Outcome]


class JobFailed(Exception):
    """What a sweeper that draws values is told of a job without a score."""


@dataclass(frozen=True, kw_only=True)
class SweepTask:
    """What Hydra calls for each job; it is pickled for jobs in other processes.

    Attributes:
        program: its name.
        job: `job(config, run_dir, stop=...)` runs a job, or what is left of it.
        plan: of the sweep.
        working_dir: that paths are meant from.
        stop: takes the signals; in another process it takes that one's.
        aside: folders of jobs that are left alone.
        ended: by folder, the jobs that ended in this process, for a disk that cannot keep what becomes of them.
    """

    program: str
    job: Job
    plan: SweepPlan
    working_dir: Path
    stop: StopRequest
    ended: dict[str, JobRecord] = field(default_factory=dict)
    aside: frozenset[str] = frozenset()

    def __call__(self, composed: DictConfig) -> float:
        """Run the job that Hydra composed; returns its score.

        Raises:
            Interrupted: a signal came, in a sweep of one process.
            JobFailed: there is no score, and the sweeper asks for one.
        """
        if HydraConfig.get().runtime.choices["hydra/launcher"] == "basic":
            outcome = self._run(composed)
            if outcome.exit_code == INTERRUPTED:
                raise Interrupted
        else:
            os.chdir(self.working_dir)
            with unbreakable_streams(), self.stop:
                outcome = self._run(composed)
        if self.plan.draws and math.isnan(outcome.score):
            raise JobFailed(outcome.message)
        return outcome.score

    def _run(self, composed: DictConfig) -> Outcome:
        run_dir, hydra = output_dir(), HydraConfig.get()
        if is_stopped(run_dir.parent) or run_dir.name in self.aside:
            return Outcome(INTERRUPTED)
        words: list[str] = OmegaConf.to_container(hydra.overrides.task, resolve=False)  # type: ignore[assignment]
        of = f" of {len(self.plan.jobs)}" if self.plan.jobs else ""
        warn("")
        warn(f"[job {hydra.job.num + 1}{of}] {self.plan.changes(words)}")
        record = self._record(run_dir, words)
        try:
            with RunLock(run_dir, field="hydra.sweep.dir", say=warn):
                self._keep(record, run_dir)
                outcome = run_job(self.program, lambda: self._job(composed, run_dir), contain_bugs=True)
                self._keep(replace(record, exit_code=outcome.exit_code, message=outcome.message), run_dir)
        except InputError as error:  # what is in the folder is another process's
            outcome = Outcome(REFUSED, message=str(error))
            complain(self.program, outcome)
            self.ended[run_dir.name] = replace(record, exit_code=REFUSED, message=outcome.message)
        return outcome

    def _job(self, composed: DictConfig, run_dir: Path) -> Outcome:
        return self.job(load_config(TrainConfig, composed), run_dir, stop=self.stop)

    @staticmethod
    def _record(run_dir: Path, words: list[str]) -> JobRecord:
        before = record_in(run_dir)
        if before is not None and before.version != byol_cli.__version__:
            warn(f"note: {run_dir} was begun by byol-cli {before.version}, this is {byol_cli.__version__}")
            return JobRecord(words, version=before.version)
        return JobRecord(words)

    def _keep(self, record: JobRecord, run_dir: Path) -> None:
        self.ended[run_dir.name] = record
        with tolerated(run_dir / RECORD, say=warn):
            record.write(run_dir)
