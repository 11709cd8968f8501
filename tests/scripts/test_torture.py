import math
from pathlib import Path

import pytest
import torch
import torture
from tortures.comparison import leaves, same
from tortures.controls import CONTROLS, passed, spoil_each, table
from tortures.forked import Forked
from tortures.kills import Plan, Tally
from tortures.kills import torture as kill_again_and_again

from byol_cli.cli.command import guarded

TINY = "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 evaluation=[]".split()
QUICK = ["trainer.device=cpu", "trainer.batch_size=16", "trainer.steps=240", "trainer.checkpoint_every_steps=3"]
THREE = Plan(kills=3, share_in_writes=0.34, signal_name="kill", seed=0)


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("kills --kills 0", "--kills=0 must be at least 1"),
        ("kills --in-writes 2", "--in-writes=2 must lie between 0 and 1"),
        ("kills --keep .", "--keep=. is there already"),
        ("kills --keep no/where", "--keep=no/where: there is no folder no"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(words: str, complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert guarded(torture.PROGRAM, lambda: torture.main(words.split())) == 2
    assert capsys.readouterr().err == f"torture.py: {complaint}\n"


@pytest.mark.slow
def test_three_kills_leave_no_trace(tmp_path: Path) -> None:
    tally = kill_again_and_again([*TINY, *QUICK], tmp_path, plan=THREE, launch=Forked)
    assert tally.passed, tally.table()
    assert (tally.kills, tally.runs > 0, tally.compared > 100) == (3, True, True)
    assert tally.in_writes >= 1


@pytest.mark.slow
def test_each_piece_of_the_state_is_noticed_when_it_is_spoilt(tmp_path: Path) -> None:
    comparisons = spoil_each(tmp_path)
    assert passed(comparisons), table(comparisons)
    scaler = torch.load(tmp_path / "whole" / "checkpoints" / "step_00000008.pt", weights_only=True)["scaler"]
    assert scaler["scale"] < 2.0**16  # gradients did overflow


def test_a_control_that_finds_nothing_fails() -> None:
    from tortures.comparison import Comparison

    clean = Comparison(compared=9, tensors=[], values=[])
    found = Comparison(compared=9, tensors=["target.weight"], values=[])
    comparisons = dict.fromkeys(CONTROLS, found) | {CONTROLS[0]: clean}
    assert passed(comparisons)
    assert not passed({**comparisons, CONTROLS[3]: clean})
    assert not passed({**comparisons, CONTROLS[0]: found})


def test_equal_means_to_the_bit_and_of_the_same_type() -> None:
    zero, nan = torch.zeros(2), torch.tensor([math.nan, 1.0])
    assert same(nan, nan.clone())
    assert same(math.nan, math.nan)
    assert not same(zero, -zero)
    assert not same(zero, zero.double())
    assert not same(zero, zero[None])
    assert not same(1, 1.0)
    assert not same(1, True)
    assert not same(0.1 + 0.2, 0.3)
    upright = torch.arange(24.0).view(1, 2, 3, 4)
    assert same(upright, upright.to(memory_format=torch.channels_last))


def test_every_value_has_a_name_and_none_is_lost() -> None:
    values = {"a": [1, {"b": None}], "empty": {}, "none": [], 7: (True,)}
    expected = [("a.0", 1), ("a.1.b", None), ("empty", {}), ("none", []), ("7.0", True)]
    assert list(leaves(values)) == expected


def test_the_table_tells_what_is_wrong() -> None:
    tally = Tally(plan=THREE, kills=3, lost=[2, 5])
    assert tally.passed
    assert "| steps lost, all kills together | 7 |" in tally.table()
    tally.differing_tensors += [f"target.{number}" for number in range(25)]
    assert not tally.passed
    assert tally.table().splitlines()[-2:] == ["- target.19", "- and 5 more"]
