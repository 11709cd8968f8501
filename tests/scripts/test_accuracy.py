import accuracy
import pytest

from byol_cli.cli.command import guarded

SUMMARY = {"linear_top1": 0.9, "knn_top1": 0.8, "few_label_top1": None, "seconds": 61.4}
TINY = ["backbone.widths=[4,8]", "backbone.blocks=[1,1]", "head.hidden_dim=16", "head.output_dim=8", "trainer.steps=2"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("--seeds 0,x", "--seeds=0,x must be whole numbers with commas between them"),
        ("--paths fast,quick", "--paths=fast,quick: quick is none of fast, slow"),
        ("trainer.epochs=0 --seeds 0", "trainer.epochs=0"),
        ("augmentation.formulas=deepmind --seeds 0 --paths slow", "the slow path knows torchvision alone"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(accuracy.PROGRAM, lambda: accuracy.main(words.split())) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert complaint in lines[0]


def test_the_table_has_a_row_a_run_and_the_medians() -> None:
    summaries = {("slow", seed): {**SUMMARY, "knn_top1": top1} for seed, top1 in enumerate((0.8, 0.5, 0.9))}
    assert accuracy.table(summaries, ["slow"], [0, 1, 2]).splitlines() == [
        "| path | seed | linear | k-NN | few-label | seconds |",
        "| --- | --- | --- | --- | --- | --- |",
        "| slow | 0 | 0.900 | 0.800 | - | 61 |",
        "| slow | 1 | 0.900 | 0.500 | - | 61 |",
        "| slow | 2 | 0.900 | 0.900 | - | 61 |",
        "| slow | median | 0.900 | 0.800 | - | 61 |",
    ]


@pytest.mark.slow
def test_both_paths_train_and_are_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert accuracy.main([*TINY, "evaluation=[knn]", "--seeds", "4"]) == 0
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert [row[:2] for row in rows[2:]] == [
        ["| fast", "4"],
        ["| fast", "median"],
        ["| slow", "4"],
        ["| slow", "median"],
    ]
    assert all(0 < float(row[3]) <= 1 for row in rows[2:])
