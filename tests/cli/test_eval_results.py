"""What byol-train and byol-eval leave in evaluations.jsonl, and what byol-eval refuses."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

Command = Callable[..., Any]
QUICK = ["evaluation.linear.epochs=2", "evaluation.few_label.draws=2"]
MEASURES = ["linear", "knn", "few_label", "label_free"]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first test to need it leaves a trained run for the others."""
    return tmp_path_factory.mktemp("kept") / "run"


@pytest.fixture
def run_dir(kept: Path, byol_train: Command, tiny: list[str], tmp_path: Path) -> Path:
    """The folder `run`, trained for two steps, with what training measured."""
    if not kept.exists():
        assert byol_train(*tiny, *QUICK, "trainer.steps=2", f"hydra.run.dir={kept}").code == 0
    shutil.copytree(kept, tmp_path / "run")
    return tmp_path / "run"


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "evaluations.jsonl").read_text().splitlines()]


def results_in(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Without what is of the occasion."""
    return [{name: value for name, value in row.items() if name not in ("time", "command")} for row in rows]


def test_training_ends_with_a_line_for_each_measurement_of_each_representation(run_dir: Path) -> None:
    rows = rows_of(run_dir)
    told = [(row["measure"], row["representation"]) for row in rows]
    assert told == [(measure, which) for which in ("untrained", "pixels", "trained") for measure in MEASURES]
    summary = json.loads((run_dir / "summary.json").read_text())
    for row in rows:
        scores = summary if row["representation"] == "trained" else summary[row["representation"]]
        if row["measure"] == "label_free":
            assert row["figures"]["effective_rank"] == scores["effective_rank"]
            assert set(row["figures"]) == {"effective_rank", "rankme", "alignment", "uniformity"}
            assert row["settings"] == {"images": 1294, "pairs": 512}
        else:
            assert row["figures"]["top1"] == scores[f"{row['measure']}_top1"]
            assert row["measured_on"] == "test"
    checkpoint = run_dir / rows[0]["checkpoint"]
    for row in rows:
        assert (row["command"], row["dataset"], row["step"], row["seed"]) == ("byol-train", "digits", 2, 0)
        assert row["classes"] == list("0123456789")
        assert row["checkpoint_sha256"] == hashlib.sha256(checkpoint.read_bytes()).hexdigest()
        assert len(row["data_fingerprint"]) == 64
        assert datetime.fromisoformat(row["time"]).utcoffset() is not None
        assert row["versions"]["torch"] == str(torch.__version__)


def test_measuring_again_appends_the_same_numbers_twice_as_well(run_dir: Path, byol_eval: Command) -> None:
    trained = (run_dir / "evaluations.jsonl").read_bytes()
    words = ["checkpoint=run", "device=cpu", *QUICK]
    tables = [byol_eval(*words).out.partition("accuracy on")[2] for _ in range(2)]
    assert tables[0] == tables[1]
    assert (run_dir / "evaluations.jsonl").read_bytes().startswith(trained)
    rows = rows_of(run_dir)
    assert [row["command"] for row in rows] == ["byol-train"] * 12 + ["byol-eval"] * 24
    by_train, first, second = (results_in(rows[start : start + 12]) for start in (0, 12, 24))
    assert first == second
    assert [(row["figures"], row["settings"]) for row in by_train] == [
        (row["figures"], row["settings"]) for row in first
    ]


def test_both_commands_see_the_same_features_to_the_last_bit(
    byol_train: Command, byol_eval: Command, byol_embed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With channels wide enough that the memory format decides in which order numbers are added."""
    from byol_cli.evaluation.evaluator import Evaluator

    seen: list[torch.Tensor] = []
    features = Evaluator.features

    def watched(self: Any, backbone: Any, subset: Any) -> torch.Tensor:
        seen.append(features(self, backbone, subset))
        return seen[-1]

    monkeypatch.setattr(Evaluator, "features", watched)
    words = ["evaluation=[knn]", "trainer.device=cpu", "trainer.precision=fp32", "trainer.steps=1"]
    assert byol_train(*words, "hydra.run.dir=run").code == 0
    by_train, seen = seen, []
    assert byol_eval("checkpoint=run", "device=cpu", "precision=fp32", "evaluation=[knn]").code == 0
    assert len(by_train) == len(seen) > 6
    assert all(torch.equal(one, other) for one, other in zip(by_train, seen, strict=True))
    rows = rows_of(Path("run"))
    half = len(rows) // 2
    assert [row["figures"] for row in rows[:half]] == [row["figures"] for row in rows[half:]]
    assert byol_embed("checkpoint=run", "device=cpu", "precision=fp32", "output=features.npz").code == 0
    embedded = torch.from_numpy(np.load("features.npz")["features"])
    nearest = [(part[:9, None] - embedded).abs().amax(dim=2).amin(dim=1).max() for part in seen if part.shape[1] == 64]
    assert sum(float(distance) < 1e-6 for distance in nearest) >= 3  # training images, selection split, test images


def test_neither_workers_nor_kept_features_change_a_number(run_dir: Path, byol_eval: Command) -> None:
    augmented = ["evaluation=[linear]", "evaluation.linear.mode=augmented", "evaluation.linear.epochs=2"]
    for words in (["num_workers=0"], ["num_workers=2", "feature_cache=false"]):
        assert byol_eval("checkpoint=run", "device=cpu", *augmented, *words).code == 0
    rows = rows_of(run_dir)[12:]
    assert len(rows) == 12
    assert results_in(rows[:6]) == results_in(rows[6:])
    assert {row["settings"]["mode"] for row in rows if row["measure"] == "linear"} == {"augmented"}


def test_results_of_a_lone_file_lie_in_a_folder_of_its_own_beside_it(
    run_dir: Path, byol_eval: Command, tmp_path: Path
) -> None:
    models = tmp_path / "models"
    models.mkdir()
    before = (run_dir / "evaluations.jsonl").read_bytes()
    for name in ("mine", "yours"):
        shutil.copy(run_dir / "checkpoints" / "last.pt", models / f"{name}.pt")
        ended = byol_eval(f"checkpoint=models/{name}.pt", "device=cpu", "evaluation=[knn,logistic]")
        assert ended.code == 0, ended.err
        assert f"report: models/{name}.report/report.html" in ended.out
        rows = rows_of(models / f"{name}.report")
        assert [row["measure"] for row in rows] == ["knn", "logistic", "label_free"] * 3
        assert {row["checkpoint"] for row in rows} == {f"../{name}.pt"}
        page = (models / f"{name}.report" / "report.html").read_text()
        assert f"byol-embed checkpoint=models/{name}.pt output=vectors.npz" in page
        assert "byol-train" not in page.split('<section id="next"')[1].split("</section>")[0]
    assert sorted(path.name for path in models.iterdir()) == ["mine.pt", "mine.report", "yours.pt", "yours.report"]
    assert (models / "mine.report" / "features").is_dir()
    assert (run_dir / "evaluations.jsonl").read_bytes() == before


def test_another_data_set_is_named_in_the_lines(run_dir: Path, byol_eval: Command) -> None:
    words = ["dataset=synthetic", "dataset.num_images=60", "evaluation=[knn]"]
    ended = byol_eval("checkpoint=run", "device=cpu", *words)
    assert ended.code == 0, ended.err
    rows = rows_of(run_dir)
    assert {row["dataset"] for row in rows[12:]} == {"synthetic"}
    assert [row["data"]["num_images"] for row in rows[12:]] == [60] * len(rows[12:])
    assert rows[12]["data_fingerprint"] != rows[0]["data_fingerprint"]


def test_where_the_lines_cannot_be_written_one_warning_says_so_and_the_table_stands(
    run_dir: Path, byol_eval: Command
) -> None:
    (run_dir / "evaluations.jsonl").unlink()
    (run_dir / "evaluations.jsonl").mkdir()
    ended = byol_eval("checkpoint=run", "device=cpu", "evaluation=[knn]")
    assert ended.code == 0
    assert "accuracy on the test images" in ended.out
    assert ended.out.count("warning: run/evaluations.jsonl cannot be written: Is a directory") == 1


def test_a_report_that_is_not_there_is_not_named(run_dir: Path, byol_eval: Command) -> None:
    (run_dir / "report.html").unlink()
    (run_dir / "report.html").mkdir()
    ended = byol_eval("checkpoint=run", "device=cpu", "evaluation=[knn]")
    assert ended.code == 0
    assert "warning: run/report.html cannot be written: Is a directory" in ended.out
    assert "report: run" not in ended.out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_costs_a_warning(run_dir: Path, byol_eval: Command) -> None:
    (run_dir / "evaluations.jsonl").unlink()
    run_dir.chmod(0o555)
    try:
        ended = byol_eval("checkpoint=run", "device=cpu", "evaluation=[knn]", "feature_cache=false")
    finally:
        run_dir.chmod(0o755)
    assert ended.code == 0
    assert "warning: run/evaluations.jsonl cannot be written: Permission denied" in ended.out
    assert "report: " not in ended.out


def lacks_a_statistic(weights: dict[str, Any]) -> str:
    return _removed(weights, "running_mean")


def has_one_more(weights: dict[str, Any]) -> str:
    weights["backbone.network.more.weight"] = torch.zeros(3)
    return "backbone.network.more.weight"


def calls_one_otherwise(weights: dict[str, Any]) -> str:
    name = _removed(weights, "weight")
    weights[f"{name}_of_another"] = torch.zeros(3)
    return f"{name}_of_another"


def has_one_of_another_shape(weights: dict[str, Any]) -> str:
    name = next(name for name in weights if name.startswith("backbone.") and name.endswith("weight"))
    weights[name] = weights[name][:1].clone()
    return name


def _removed(weights: dict[str, Any], ending: str) -> str:
    name = next(name for name in weights if name.startswith("backbone.") and name.endswith(ending))
    del weights[name]
    return name


@pytest.mark.parametrize("change", [lacks_a_statistic, has_one_more, calls_one_otherwise, has_one_of_another_shape])
def test_a_checkpoint_that_matches_partly_is_refused_with_its_keys(
    run_dir: Path, byol_eval: Command, tmp_path: Path, change: Callable[[dict[str, Any]], str]
) -> None:
    checkpoint = torch.load(run_dir / "checkpoints" / "last.pt", weights_only=True)
    key = change(checkpoint["online"])
    torch.save(checkpoint, tmp_path / "partial.pt")
    ended = byol_eval("checkpoint=partial.pt", "device=cpu")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert key in ended.err
    assert not (tmp_path / "evaluations.jsonl").exists()


@pytest.mark.parametrize(
    ("measure", "told"),
    [
        ("finetune", "evaluation=finetune needs labelled training images, and there are none"),
        ("supervised", "evaluation=supervised needs labelled training images, and there are none"),
        ("retrieval", "evaluation=retrieval needs labels, or evaluation.retrieval.pairs=FILE; there are none"),
    ],
)
def test_what_needs_labels_is_refused_before_anything_is_measured(
    run_dir: Path, byol_eval: Command, measure: str, told: str
) -> None:
    words = ["dataset=digits", "dataset.labels=none", f"evaluation=[{measure}]"]
    ended = byol_eval("checkpoint=run", "device=cpu", *words)
    assert (ended.code, ended.err) == (2, f"byol-eval: {told}\n")
    assert len(rows_of(run_dir)) == 12


def test_every_measurement_at_once(run_dir: Path, byol_eval: Command) -> None:
    everything = "evaluation=[linear,knn,logistic,few_label,finetune,supervised,retrieval]"
    small = (
        "evaluation.finetune.epochs=1 evaluation.finetune.min_steps=2 evaluation.finetune.learning_rates=[0.1] "
        "evaluation.finetune.fractions=[] evaluation.finetune.draws=2 evaluation.supervised.epochs=1 "
        "evaluation.supervised.min_steps=2 evaluation.retrieval.num_pairs=100 evaluation.few_label.fractions=[0.1]"
    )
    ended = byol_eval("checkpoint=run", "device=cpu", everything, *QUICK, *small.split())
    assert ended.code == 0, ended.err
    rows = rows_of(run_dir)[12:]
    trained = [row["measure"] for row in rows if row["representation"] == "trained"]
    assert trained == ["linear", "knn", "logistic", "few_label", "few_label", "label_free", "retrieval", "finetune"]
    assert [row["measure"] for row in rows if row["representation"] == "scratch"] == ["finetune", "supervised"]
    for word in (
        "top-5",
        "95 % interval",
        "logistic",
        "few-label, 0.1 of the labels",
        "recall@1",
        "from random weights",
    ):
        assert word in ended.out


def test_search_alone_does_not_say_that_there_are_no_labels(run_dir: Path, byol_eval: Command) -> None:
    ended = byol_eval("checkpoint=run", "device=cpu", "evaluation=[retrieval]", "evaluation.retrieval.num_pairs=100")
    assert ended.code == 0, ended.err
    assert "no labels" not in ended.out
    assert "recall@1" in ended.out


def test_an_interruption_leaves_every_result_that_was_made(
    run_dir: Path, byol_eval: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    from byol_cli.cli import measurement, results_file

    def signalled(module: Any, name: str, *, at_call: int) -> None:
        whole, calls = getattr(module, name), iter(range(1, 100))

        def during(*args: Any, **kwargs: Any) -> Any:
            if next(calls) == at_call:
                os.kill(os.getpid(), signal.SIGTERM)
            return whole(*args, **kwargs)

        monkeypatch.setattr(module, name, during)

    words = ["checkpoint=run", "device=cpu", "evaluation=[knn]"]
    told = "byol-eval: interrupted; go on by: byol-eval checkpoint=run device=cpu 'evaluation=[knn]'\n"
    signalled(results_file, "append_results", at_call=3)
    ended = byol_eval(*words)
    assert (ended.code, ended.err) == (75, told)
    assert len(rows_of(run_dir)) == 12 + 3  # the line that was being written is whole
    signalled(measurement, "evaluator", at_call=1)
    ended = byol_eval(*words)
    assert (ended.code, ended.err) == (75, told)
    assert len(rows_of(run_dir)) == 12 + 3


@pytest.mark.parametrize("program", ["byol-eval", "byol-train"])
def test_a_measurement_that_fails_costs_none_of_those_before_it(
    run_dir: Path, byol_eval: Command, byol_train: Command, tiny: list[str], program: str
) -> None:
    diverges = ["evaluation=[knn,finetune]", "evaluation.finetune.learning_rates=[1e30]"]
    diverges += ["evaluation.finetune.epochs=1", "evaluation.finetune.min_steps=2"]
    if program == "byol-eval":
        ended = byol_eval("checkpoint=run", "device=cpu", *diverges)
    else:
        ended = byol_train(*tiny, *diverges, "trainer.steps=2", "hydra.run.dir=fails")
        assert json.loads(Path("fails/summary.json").read_text())["status"] == "stopped"
    assert ended.code == 3
    assert "diverged" in ended.err
    rows = rows_of(run_dir)[12:] if program == "byol-eval" else rows_of(Path("fails"))
    assert [row["measure"] for row in rows] == ["knn", "label_free"] * 3


@pytest.mark.parametrize("measures", ["linear", "knn", "logistic", "few_label", "linear,knn,few_label,retrieval"])
def test_labels_with_nothing_held_out_are_refused_where_accuracies_are_asked_for(
    run_dir: Path, byol_eval: Command, byol_train: Command, tiny: list[str], measures: str
) -> None:
    held_out = ["dataset.test_fraction=0", "dataset.selection_fraction=0"]
    nothing = ["dataset=digits", *held_out, f"evaluation=[{measures}]"]
    measure = measures.partition(",")[0]
    told = (
        f"evaluation={measure} has nothing to measure on: there is no test set, and dataset.selection_fraction=0; "
        "dataset.labels=none measures what takes no labels\n"
    )
    ended = byol_eval("checkpoint=run", "device=cpu", *nothing)
    assert (ended.code, ended.err) == (2, f"byol-eval: {told}")
    ended = byol_train(*tiny, *nothing, "trainer.steps=2", "hydra.run.dir=other")
    assert (ended.code, ended.err) == (2, f"byol-train: {told}")
    assert not Path("other/metrics.jsonl").exists()
    unlabelled = byol_train(*tiny, *held_out, "dataset.labels=none", "trainer.steps=2", "hydra.run.dir=other")
    assert unlabelled.code == 0, unlabelled.err


def test_lines_tell_versions_images_and_how_much_better_than_the_baselines(run_dir: Path) -> None:
    for row in rows_of(run_dir):
        assert "scikit-learn" in row["versions"]
        if row["measure"] == "label_free":
            continue
        assert row["settings"]["measured_images"] == 359
        assert row["settings"]["skipped_images"] == 0
        compared = row["representation"] == "trained" and row["measure"] != "few_label"
        assert set(row["difference"]) == ({"untrained", "pixels"} if compared else set())
        for ends in row["difference"].values():
            assert set(ends) == set(row["figures"])
