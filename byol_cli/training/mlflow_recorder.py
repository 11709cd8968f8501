"""MLflow, as its own variables say: MLFLOW_TRACKING_URI, MLFLOW_EXPERIMENT_NAME, ..."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlflow import MlflowClient
from mlflow.entities import Metric, Param, RunTag

EXPERIMENT = "byol-cli"
_AT_ONCE = 100  # settings in one request
_STATUS = {"done": "FINISHED", "interrupted": "KILLED"}


class MlflowRecorder:
    """One MLflow run, through a client of its own: MLflow's active run is the whole process's."""

    def __init__(self, client: MlflowClient, run_id: str) -> None:
        """The run must be there."""
        self._client, self.id = client, run_id

    def record(self, step: int, values: Mapping[str, float]) -> None:
        """A point of each curve."""
        now = int(1000 * time.time())
        self._client.log_batch(self.id, metrics=[Metric(name, value, now, step) for name, value in values.items()])

    def finish(self, status: str, figures: Mapping[str, float]) -> None:
        """The figures as metrics of their own."""
        self.record(int(figures["steps"]), figures)
        self._client.set_tag(self.id, "status", status)
        self._client.set_terminated(self.id, _STATUS.get(status, "FAILED"))


def begin(settings: Mapping[str, Any], *, run_dir: Path, known_id: str | None) -> MlflowRecorder:
    """Begin an MLflow run, or go on with the one of `known_id`."""
    client = MlflowClient()
    if known_id is not None:
        client.update_run(known_id, status="RUNNING")
        return MlflowRecorder(client, known_id)
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", EXPERIMENT)
    experiment = client.get_experiment_by_name(name)
    experiment_id = client.create_experiment(name) if experiment is None else experiment.experiment_id
    run = client.create_run(experiment_id, run_name=run_dir.name)
    params = [Param(key, str(value)) for key, value in settings.items()]
    for first in range(0, len(params), _AT_ONCE):
        client.log_batch(run.info.run_id, params=params[first : first + _AT_ONCE])
    client.log_batch(run.info.run_id, tags=[RunTag("sweep", run_dir.absolute().parent.name)])
    return MlflowRecorder(client, run.info.run_id)
