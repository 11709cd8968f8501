"""The wheel carries everything: built, installed outside the checkout, every command runs from it."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(*command: str | Path, cwd: Path, **more: str) -> str:
    """What the command printed; it must succeed."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | more
    ended = subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, cwd=cwd, check=False, env=environment
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs the checkout")
@pytest.mark.slow
def test_every_command_runs_from_the_wheel(tmp_path: Path) -> None:
    built = tmp_path / "dist"
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", built, ROOT, cwd=tmp_path)
    (wheel,) = built.glob("*.whl")
    environment = tmp_path / "venv"
    # The libraries are those of this environment; byol_cli itself is found in the new one first.
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    site = run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=tmp_path).strip()
    libraries = run(
        sys.executable, "-c", "import torch, os; print(os.path.dirname(os.path.dirname(torch.__file__)))", cwd=tmp_path
    )
    Path(site, "libraries.pth").write_text(libraries)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", "--force-reinstall", wheel, cwd=tmp_path)
    where = run(python, "-c", "import byol_cli; print(byol_cli.__file__)", cwd=tmp_path)
    assert where.startswith(site)
    words = ["trainer.steps=2", "trainer.device=cpu", "evaluation=[knn]", "hydra.run.dir=run"]
    assert "run folder: run" in run(environment / "bin" / "byol-train", *words, cwd=tmp_path)
    assert "trained backbone" in run(
        environment / "bin" / "byol-eval", "checkpoint=run", "evaluation=[knn]", cwd=tmp_path
    )
    assert (tmp_path / "run" / "report.html").is_file()
    exported = run(environment / "bin" / "byol-export", "checkpoint=run", "format=safetensors", cwd=tmp_path)
    assert "run/export/safetensors/resnet_small.safetensors" in exported
    assert "1,797 images" in run(environment / "bin" / "byol-embed", "checkpoint=run", "output=all.csv", cwd=tmp_path)
    assert "byol-train learns" in run(python, "-m", "byol_cli", "--help", cwd=tmp_path)
    names = run(python, "-m", "zipfile", "-l", wheel, cwd=tmp_path)
    assert "byol_cli/configs/experiment/digits.yaml" in names
    assert "LICENSE" in names
    completed = run(
        environment / "bin" / "byol-train",
        "-sc",
        "query=bash",
        cwd=tmp_path,
        COMP_LINE="byol-train optimi",
        COMP_POINT="17",
    )
    assert "optimizer" in completed
