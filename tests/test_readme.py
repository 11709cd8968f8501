"""The README says what is so."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_tables_of_settings_are_those_of_the_config_files() -> None:
    readme = (ROOT / "README.md").read_text()
    script = runpy.run_path(str(ROOT / "scripts" / "config_table.py"))
    assert script["with_tables"](readme) == readme, "run: python scripts/config_table.py --write"


def test_the_files_it_points_to_exist() -> None:
    readme = (ROOT / "README.md").read_text()
    named = re.findall(r"`((?:byol_cli|configs|scripts)/[\w/.]*)`", readme)
    assert len(named) > 10
    assert not [name for name in named if not (ROOT / name).exists()]
