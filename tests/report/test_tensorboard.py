"""TensorBoard itself, started on a run's folder, serves what the run recorded and what was measured."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from byol_cli.report.gallery import Gallery
from byol_cli.report.page import write_report

WAIT_SECONDS = 60
OPEN = urllib.request.build_opener(urllib.request.ProxyHandler({})).open


def written(run_dir: Path, **how: Any) -> Path:
    """Where the report is that can be written."""
    path = write_report(run_dir, **how)
    assert path is not None
    return path


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def served(address: str, *, until: str) -> Any:
    """The answer, once it holds `until`: TensorBoard reads the files while it serves."""
    end, answer = time.monotonic() + WAIT_SECONDS, ""
    while time.monotonic() < end:
        try:
            with OPEN(address, timeout=WAIT_SECONDS) as response:
                answer = response.read().decode()
            if until in answer:
                return json.loads(answer)
        except (urllib.error.URLError, ConnectionError):
            pass
        time.sleep(0.2)
    raise AssertionError(f"{address} did not answer with {until}: {answer[:500]}")


@pytest.mark.slow
def test_tensorboard_serves_the_runs_tags_its_projector_and_its_settings(run_dir: Path, sample: Gallery) -> None:
    write_report(run_dir, gallery=sample, say=print)
    port = free_port()
    command = [sys.executable, "-m", "tensorboard.main", "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--load_fast", "false", "--logdir", str(run_dir / "tensorboard")],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        data = f"http://127.0.0.1:{port}/data"
        tags = served(f"{data}/plugin/scalars/tags", until="measured/test/linear_top1")["."]
        assert {"train/loss", "train/lr", "probe/knn_top1", "gauges/feature_std", "measured/test/linear_top1"} <= set(
            tags
        )
        assert "views" in served(f"{data}/plugin/images/tags", until="views")["."]
        points = served(f"{data}/plugin/scalars/scalars?run=.&tag=measured%2Ftest%2Flinear_top1", until="0.97")
        assert [(step, round(value, 3)) for _, step, value in points] == [(60, 0.978)]
        assert served(f"{data}/runs", until=".") == ["."]
        (embedding,) = served(f"{data}/plugin/projector/info?run=.", until="backbone")["embeddings"]
        assert embedding["tensorShape"] == [60, 12]
        assert embedding["sprite"]["singleImageDim"] == [16, 16]
    finally:
        process.terminate()
        process.wait()


def test_the_projector_holds_features_classes_and_pictures(
    run_dir: Path, sample: Gallery, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):  # measured again, it is written anew
        write_report(run_dir, gallery=sample, say=print)
    assert capsys.readouterr().out == ""
    folder = run_dir / "tensorboard"
    (projected,) = [path.parent for path in folder.rglob("tensors.tsv")]
    assert np.allclose(np.loadtxt(projected / "tensors.tsv"), sample.features.numpy(), atol=1e-5)
    header, *lines = (projected / "metadata.tsv").read_text().splitlines()
    assert header == "class\timage"
    assert [line.split("\t")[0] for line in lines] == [sample.class_of(image) for image in range(60)]
    with Image.open(projected / "sprite.png") as sprite:
        first = np.asarray(sprite)[:16, :16, 0]
    assert np.abs(first.astype(int) - sample.thumbnails[0, 0].numpy().astype(int)).max() <= 1
    assert (folder / "projector_config.pbtxt").read_text().count("embeddings {") == 1


def test_hparams_make_no_folder_of_their_own(run_dir: Path) -> None:
    write_report(run_dir, gallery=None, say=print)
    assert not [path for path in (run_dir / "tensorboard").rglob("*") if path.is_dir()]


def test_every_measurement_has_a_tag_of_its_own_at_the_step_of_its_checkpoint(
    run_dir: Path, make_evaluation: Callable[..., dict[str, Any]]
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    def tuned(top1: float, **more: Any) -> dict[str, Any]:
        return make_evaluation("trained", top1, measure="finetune", **more)

    lines = [
        tuned(0.5, settings={"fraction": 0.01}, step=20),
        tuned(0.9, settings={"fraction": 1.0}, step=20),
        tuned(0.7, settings={"fraction": 0.01}, step=60),
        tuned(0.8, settings={"fraction": 0.01}, step=60, measured_on="selection"),
        tuned(0.1, settings={"fraction": 0.01}, step=60, dataset="elsewhere"),
    ]
    (run_dir / "evaluations.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    folder = run_dir / "tensorboard"
    for _ in range(3):
        write_report(run_dir, gallery=None, say=print)
    assert len(list(folder.glob("events.out.tfevents.*"))) == 2  # of training, and of what was measured
    read = EventAccumulator(str(next(folder.glob("*.measured"))))
    read.Reload()
    found = {
        name: [(event.step, round(event.value, 3)) for event in read.Scalars(name)]
        for name in read.Tags()["scalars"]
        if name.endswith("top1")
    }
    assert found == {
        "measured/test/finetune_1_percent_of_the_labels_top1": [(20, 0.5), (60, 0.7)],
        "measured/test/finetune_all_labels_top1": [(20, 0.9)],
        "measured/selection/finetune_1_percent_of_the_labels_top1": [(60, 0.8)],
    }


def test_a_board_that_cannot_be_written_ends_nothing(run_dir: Path, sample: Gallery, tmp_path: Path) -> None:
    (run_dir / "tensorboard").rename(tmp_path / "moved")
    (run_dir / "tensorboard").touch()
    said: list[str] = []
    path = written(run_dir, gallery=sample, say=said.append)
    assert path.is_file()
    assert len(said) == 1
    assert "tensorboard cannot be written" in said[0]
