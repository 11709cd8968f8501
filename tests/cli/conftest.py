"""Commands are run in this process, in an empty folder, with what they print caught."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from byol_cli.cli import embed as embed_command
from byol_cli.cli import evaluate as evaluate_command
from byol_cli.cli import export as export_command
from byol_cli.cli import train as train_command

# The demo made so small that a run takes about a second.
TINY = [
    "backbone.widths=[4,8]",
    "backbone.blocks=[1,1]",
    "head.hidden_dim=16",
    "head.output_dim=8",
    "trainer.device=cpu",
]


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[[str, tuple[str, ...]], Ended]:
    """Run a console script in `tmp_path`."""
    monkeypatch.chdir(tmp_path)

    def run(program: str, words: tuple[str, ...]) -> Ended:
        main = {
            "byol-train": train_command.main,
            "byol-eval": evaluate_command.main,
            "byol-export": export_command.main,
            "byol-embed": embed_command.main,
        }[program]
        monkeypatch.setattr(sys, "argv", [program, *words])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capfd.readouterr()
        return Ended(int(ended.value.code or 0), printed.out, printed.err)

    return run


@pytest.fixture
def byol_train(command: Callable[[str, tuple[str, ...]], Ended]) -> Command:
    """`byol-train` with these words."""
    return lambda *words: command("byol-train", words)


@pytest.fixture
def byol_eval(command: Callable[[str, tuple[str, ...]], Ended]) -> Command:
    """`byol-eval` with these words."""
    return lambda *words: command("byol-eval", words)


@pytest.fixture
def byol_export(command: Callable[[str, tuple[str, ...]], Ended]) -> Command:
    """`byol-export` with these words."""
    return lambda *words: command("byol-export", words)


@pytest.fixture
def byol_embed(command: Callable[[str, tuple[str, ...]], Ended]) -> Command:
    """`byol-embed` with these words."""
    return lambda *words: command("byol-embed", words)


@pytest.fixture
def tiny() -> list[str]:
    """Overrides that make the demo small."""
    return list(TINY)
