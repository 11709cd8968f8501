"""Pipes and logs get plain lines, few of them; terminals get the bar."""

import pytest

from byol_cli.training.console import Progress


def test_a_log_gets_plain_lines_and_always_the_last(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(float(second) for second in range(0, 1000, 4))
    monkeypatch.setattr("byol_cli.training.console.time.monotonic", lambda: next(clock))
    with Progress(total_images=100, done_images=0, num_epochs=2) as progress:
        for number in range(10):
            progress.advance(10)
            progress.show(epoch=1 + number // 5, loss=1.5, feature_std=0.7)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3  # every 15 seconds of 4 a step, and the end
    assert lines[0].startswith("epoch 1/2  loss 1.500  std 0.70  ")
    assert "img/s" in lines[0]
    assert "\r" not in "".join(lines)
    assert lines[-1].endswith("00:00 left")


def test_a_terminal_gets_a_bar(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    with Progress(total_images=100, done_images=50, num_epochs=2) as progress:
        progress.advance(50)
        progress.show(epoch=2, loss=1.5, feature_std=None)
    err = capsys.readouterr().err
    assert "\r" in err
    assert "epoch 2/2" in err
    assert "loss 1.500" in err
