"""What is recorded can be read again, by us and by TensorBoard, also after the run was cut off and went on."""

from pathlib import Path

import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from byol_cli.training.recorder import Recorder, read_json, read_metrics, write_json


def test_a_run_that_goes_on_drops_what_lies_past_its_checkpoint(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, start_step=0, say=print)
    for step in (1, 2, 3):
        recorder.record(step, {"train/loss": float(step)})
    recorder.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 4, "train/lo')  # cut off in writing
    recorder = Recorder(tmp_path, start_step=2, say=print)
    recorder.record(3, {"train/loss": 30.0})
    recorder.close()
    rows = [(row["step"], row["train/loss"]) for row in read_metrics(tmp_path / "metrics.jsonl")]
    assert rows == [(1, 1.0), (2, 2.0), (3, 30.0)]


def test_tensorboard_reads_scalars_and_pictures(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path, start_step=0, say=print)
    recorder.record(5, {"train/loss": 0.5, "gauges/feature_std": 1.0})
    recorder.picture("views", torch.rand(3, 8, 8))
    recorder.close()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["train/loss", "gauges/feature_std"]
    assert events.Tags()["images"] == ["views"]
    (point,) = events.Scalars("train/loss")
    assert (point.step, point.value) == (5, 0.5)


def test_json_is_written_whole(tmp_path: Path) -> None:
    path = tmp_path / "summary.json"
    assert read_json(path) is None
    write_json(path, {"status": "done", "linear_top1": None})
    assert read_json(path) == {"status": "done", "linear_top1": None}
    assert list(tmp_path.iterdir()) == [path]
