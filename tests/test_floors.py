"""Each folder imports only from the floors above its own; nothing imports the commands."""

import ast
from pathlib import Path

import byol_cli

FLOORS = ["schema", "views", "data", "model", "losses", "optim", "training", "evaluation", "report", "export", "cli"]
PACKAGE = Path(byol_cli.__file__).parent


def imported_floors(path: Path) -> set[str]:
    """The parts of this package that a file imports, anywhere in it."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            modules.add(node.module or "")
        elif isinstance(node, ast.Import):
            modules |= {name.name for name in node.names}
    return {module.split(".")[1] for module in modules if module.startswith("byol_cli.")}


def test_imports_go_up_the_house_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        floor = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if floor in ("__init__", "__main__"):
            continue
        above = FLOORS[: FLOORS.index(floor) + 1]
        assert imported_floors(path) <= set(above), path


def test_no_file_is_longer_than_one_concept() -> None:
    assert not [path for path in PACKAGE.rglob("*.py") if len(path.read_text().splitlines()) > 250]


def test_importing_the_package_is_light() -> None:
    assert imported_floors(PACKAGE / "__init__.py") == set()
