"""The batch script, with stand-ins for the two commands of SLURM's that it calls."""

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from byol_cli.training.checkpoint_search import newest_good
from byol_cli.training.recorder import read_metrics

pytestmark = pytest.mark.slow
SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm_train.sbatch"
STAND_INS = {
    "srun": 'exec "$@"',
    "scontrol": '[ "$1" = show ] && echo localhost || echo "$@" >> requeued',
    "torchrun": f'exec {sys.executable} -m torch.distributed.run "$@"',
    "byol-train": f'exec {sys.executable} -m byol_cli "$@"',
}
WORDS = (
    "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 trainer.device=cpu "
    "trainer.precision=fp32 trainer.log_every_steps=1 trainer.steps=100000 evaluation=[] "
    "trainer.probe_every_epochs=100000 hydra.run.dir=run"
).split()


def start(folder: Path, port: int) -> "subprocess.Popen[str]":
    programs = folder / "bin"
    programs.mkdir(exist_ok=True)
    for name, body in STAND_INS.items():
        (programs / name).write_text(f"#!/bin/bash\n{body}\n")
        (programs / name).chmod(stat.S_IRWXU)
    given = {"SLURM_GPUS_ON_NODE": "2", "SLURM_NNODES": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "x"}
    environment = {
        **os.environ,
        **given,
        "PATH": f"{programs}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "RENDEZVOUS_PORT": str(port),
    }
    return subprocess.Popen(
        ["bash", str(SCRIPT), *WORDS],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def out_of_time_after(folder: Path, step: int, port: int) -> str:
    """Let a start of the job come to a step, then tell it as SLURM does; returns what it printed."""
    process = start(folder, port)
    try:
        until = time.monotonic() + 90
        metrics = folder / "run" / "metrics.jsonl"
        while not (metrics.exists() and (rows := read_metrics(metrics)) and rows[-1]["step"] >= step):
            assert time.monotonic() < until
            time.sleep(0.1)
        process.send_signal(signal.SIGUSR1)
        out, err = process.communicate(timeout=90)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, err
    assert "interrupted and saved at step" in err
    return out


def test_near_its_time_limit_a_job_saves_goes_back_into_the_queue_and_goes_on(tmp_path: Path, free_port: int) -> None:
    out_of_time_after(tmp_path, 5, free_port)
    found = newest_good(tmp_path / "run", field="x", say=print)
    assert found is not None
    saved = found[1]["step"]
    assert saved >= 5
    assert (tmp_path / "requeued").read_text() == "requeue 7\n"
    out = out_of_time_after(tmp_path, saved + 5, free_port)
    assert f"going on from step {saved}" in out
