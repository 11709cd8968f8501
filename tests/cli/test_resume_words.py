"""What the words beside `resume=` may say, on runs that are done: nothing is trained here."""

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from byol_cli.cli import train as train_command
from byol_cli.cli.command import Outcome, say
from byol_cli.cli.compose import compose_config, load_config
from byol_cli.cli.folders import RunLock, UnfitRun
from byol_cli.cli.named_again import refuse_what_is_not_named_again, resume_command
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import plain

Command = Callable[..., Any]


def config_of(*words: str) -> TrainConfig:
    return load_config(TrainConfig, compose_config("train", words))


@pytest.fixture
def done(tmp_path: Path) -> None:
    """The folder `done` with a demo that has come to its end."""
    (tmp_path / "done").mkdir()
    (tmp_path / "done" / "config.yaml").write_text(yaml.safe_dump(plain(config_of("evaluation.knn.temperature=0.5"))))
    (tmp_path / "done" / "summary.json").write_text(json.dumps({"status": "done"}))


WHOLE = "(these words were read as a whole command, because they choose a group)"
REFUSED = {
    "misspelt": (["optimizer.lrr=1"], "optimizer.lrr=1: resume takes setting=value, of a setting that the run has"),
    "wrong value": (["trainer.keep_last=0"], "trainer.keep_last=0 must be"),
    "another run": (["seed=1"], "resume=done is another run: seed is 0 there and 1 here; resume_force=true goes on"),
    "a whole command": (["dataset=digits", "seed=1"], f"seed is 0 there and 1 here; resume_force=true {WHOLE}"),
    "a measurement that is none": (["evaluation=[kmeans]"], "evaluation=kmeans must be one of few_label, finetune"),
    "another folder": (["hydra.run.dir=new"], "hydra.run.dir=new: resume=done goes on in the run's own folder; leave"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_wrong_words_are_refused_although_there_is_nothing_left_to_do(
    case: str, byol_train: Command, done: None, tmp_path: Path
) -> None:
    added, message = REFUSED[case]
    ended = byol_train("resume=done", *added)
    assert (ended.code, ended.err.count("\n"), ended.out) == (2, 1, "")
    assert message in ended.err.replace("goes on all the same ", "")
    assert [path.name for path in tmp_path.iterdir()] == ["done"]


def test_what_is_measured_can_be_chosen_anew_without_typing_the_rest(byol_train: Command, done: None) -> None:
    ended = byol_train("resume=done", "evaluation=[knn]", "evaluation.knn.neighbors=5", "hydra.run.dir=./done")
    assert ended.code == 0, ended.err
    changed = [line.split()[1] for line in ended.out.splitlines() if line.startswith("changed: ")]
    assert {"evaluation.linear", "evaluation.few_label", "evaluation.knn.temperature"} <= set(changed)
    assert all(key.startswith("evaluation.") for key in changed)
    assert ended.out.splitlines()[-1] == "the run in done is done; there is nothing left to do"


def test_auto_begins_no_other_run_where_one_went_on_and_failed(
    byol_train: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    went_on = []

    def resume_job(words: Any, run_dir: Path, **_: Any) -> Outcome:
        went_on.append(run_dir.name)
        if len(went_on) == 1:
            raise UnfitRun("its images are gone")
        return Outcome(2, message="photo.jpg: the image cannot be read")

    for name in ("a", "b", "c"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text(yaml.safe_dump(plain(config_of())))
    monkeypatch.setattr(train_command, "resume_job", resume_job)
    ended = byol_train("resume=auto", "hydra.run.dir=runs/new")
    assert (ended.code, ended.err) == (2, "byol-train: photo.jpg: the image cannot be read\n")
    assert (len(set(went_on)), "its images are gone; it is left alone\n" in ended.out) == (2, True)


def test_a_stored_folder_for_decoded_images_is_named_again_although_the_run_kept_none() -> None:
    stored = config_of("dataset=image_folder", "experiment=image_folder", "dataset.root=x", "dataset.cache_dir=theirs")
    with pytest.raises(InputError, match=r"folder of its own: name it again by dataset\.cache_dir=theirs if you"):
        refuse_what_is_not_named_again(stored, ["resume=run", "dataset.cache=disk"])
    refuse_what_is_not_named_again(stored, ["resume=run", "dataset.cache=disk", "dataset.cache_dir=theirs"])
    assert resume_command(Path("run"), stored) == "byol-train resume=run dataset.cache_dir=theirs"


def test_archives_are_never_unpacked_where_nobody_typed_the_folder(tmp_path: Path) -> None:
    from byol_cli.export.trained import only_read

    stored = config_of("dataset=imagenet", "experiment=imagenet", f"dataset.root={tmp_path}")
    for archive in ("ILSVRC2012_img_train.tar", "ILSVRC2012_img_val.tar", "ILSVRC2012_devkit_t12.tar.gz"):
        (tmp_path / archive).touch()
    (tmp_path / "train").mkdir()
    with pytest.raises(InputError, match=r"no folder val, and archives are unpacked only where dataset\.root is typed"):
        refuse_what_is_not_named_again(stored, ["resume=run"])
    with pytest.raises(InputError, match=r"no folder val, and archives are unpacked only where dataset=imagenet and"):
        only_read(stored.dataset)
    refuse_what_is_not_named_again(stored, ["resume=run", f"dataset.root={tmp_path}"])
    (tmp_path / "val").mkdir()
    refuse_what_is_not_named_again(stored, ["resume=run"])
    assert only_read(stored.dataset) == stored.dataset


def test_what_is_printed_stays_on_its_line_and_commands_no_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    say("torch 2.9\x1b[2J\nwarning: forged\u2028 then, zürich now", "", "table")
    assert capsys.readouterr().out == "torch 2.9 [2J warning: forged  then, zürich now\n\ntable\n"


def test_on_a_full_disk_a_folder_is_locked_without_a_name_in_it(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    lock = RunLock(tmp_path, field="hydra.run.dir", say=print)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))  # no file grows
    try:
        with lock:
            assert (tmp_path / ".lock").read_bytes() == b""
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not (tmp_path / ".lock").exists()
