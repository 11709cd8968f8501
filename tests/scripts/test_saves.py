from pathlib import Path

import pytest
import torch
from benchmarks import saves
from benchmarks.options import Options
from benchmarks.report import as_json
from benchmarks.turns import Over

SMALL_DEMO = "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8".split()
WORDS = [*SMALL_DEMO, "trainer.device=cpu", "trainer.batch_size=8", "trainer.steps=1000000"]


@pytest.mark.slow
def test_saves_are_compared_with_none_and_with_waiting() -> None:
    options = Options(rounds=2, peers=())
    rates, stalls = saves._tables(options, "tiny", WORDS, steps=4, suffix="_digits")
    values = as_json([rates, stalls], {})
    assert values["loop_with_saves_vs_without_digits"] > 0
    assert values["loop_with_waited_saves_vs_without_digits"] > 0
    assert values["figures"]["save_stall_with_saves_digits"]["unit"] == "ms"
    assert len(values["figures"]["save_stall_with_waited_saves_digits"]["rounds"]) == 2
    assert "at the default of a save every 15 minutes" in stalls.markdown()


@pytest.mark.parametrize(("kind", "saved"), [("without", []), ("with_saves", [2, 6]), ("with_waited_saves", [2, 6])])
def test_each_round_holds_one_whole_save(
    kind: str, saved: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found: list[list[int]] = []

    def turn() -> None:
        found.append(sorted(torch.load(path, weights_only=True)["step"] for path in tmp_path.glob("*/step_*.pt")))
        if len(found) == 3:
            raise Over

    with pytest.raises(Over):
        saves.product(turn, words=WORDS, steps=4, saves=kind)
    assert found == [[], saved[:1], saved]


def test_the_share_of_the_loop_is_told_and_judged() -> None:
    assert saves.shares(0.6, minutes=15) == (
        "Beside the loop that is 0.0667 % of it at the default of a save every 15 minutes, and 1 % at one a minute: "
        "below 2 %."
    )
    assert "6 % at one a minute: NOT BELOW 2 %" in saves.shares(3.6, minutes=15)
