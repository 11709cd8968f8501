"""Writes the README's tables of config groups, options and settings from the files below configs/.

python scripts/config_table.py            print the tables
python scripts/config_table.py --write    put them into README.md, between the two markers
"""

import argparse
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
BEGIN, END = "<!-- settings: begin -->\n", "<!-- settings: end -->"
GROUPS = "dataset augmentation backbone head loss optimizer ema trainer evaluation experiment".split()
LINE = re.compile(r"^(?P<indent> *)(?P<key>\w+):(?: (?P<value>[^#]+?))?(?:  # (?P<meaning>.*))?$")


class Setting(NamedTuple):
    """A line of a config file: its dotted name, its value as written, and the comment beside it."""

    name: str
    value: str
    meaning: str


def settings(path: Path) -> Iterator[Setting]:
    """The settings of a config file, without its defaults list and Hydra's own node."""
    parents: list[str] = []
    for line in path.read_text().splitlines():
        match = LINE.match(line)
        if not match:
            continue
        parents[len(match["indent"]) // 2 :] = [match["key"]]
        if match["value"] is not None and parents[0] not in ("defaults", "hydra"):
            yield Setting(".".join(parents), match["value"], match["meaning"] or "")


def header(path: Path) -> str:
    """The comment at the head of a config file."""
    lines = (line[2:] for line in path.read_text().splitlines() if line.startswith("# ") and "@package" not in line)
    return " ".join(lines)


def group_tables(group: str) -> Iterator[str]:
    """A table of the group's options, and one of its settings with each option's value."""
    paths = sorted((ROOT / "configs" / group).glob("*.yaml"))
    yield f"#### `{group}`"
    yield table(["choose", "what it is"], [[f"`{group}={path.stem}`", header(path)] for path in paths])
    if group == "experiment":
        return
    values: dict[str, dict[str, list[str]]] = {}
    meanings: dict[str, dict[str, list[str]]] = {}
    for path in sorted(paths, key=lambda path: -len(list(settings(path)))):  # the fullest file gives the order
        for setting in settings(path):
            if setting.name != "name":
                values.setdefault(setting.name, {}).setdefault(setting.value, []).append(path.stem)
                if setting.meaning:
                    meanings.setdefault(setting.name, {}).setdefault(setting.meaning, []).append(path.stem)
    rows = []
    for name, by_value in values.items():
        meaning = meanings.get(name) or meanings.get(name.replace("view2", "view1"), {})
        quoted = {f"`{value}`": used for value, used in by_value.items()}
        rows.append([f"`{group}.{name}`", ", ".join(with_options(quoted)), "; ".join(with_options(meaning))])
    if rows:
        yield table(["setting", "default", "meaning"], rows)


def with_options(texts: dict[str, list[str]]) -> list[str]:
    """Each text, followed by the options that have it where they differ."""
    return [text if len(texts) == 1 else f"{text} ({', '.join(options)})" for text, options in texts.items()]


def table(titles: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines)


def tables() -> str:
    """All tables: the top level first, then a part a group."""
    top = [[f"`{s.name}`", f"`{s.value}`", s.meaning] for s in settings(ROOT / "configs" / "train.yaml")]
    parts = ["#### Top level", table(["setting", "default", "meaning"], top)]
    for group in GROUPS:
        parts += group_tables(group)
    return "\n\n".join(parts) + "\n"


def with_tables(readme: str) -> str:
    """The README's text with the tables between its markers brought up to date."""
    before, rest = readme.split(BEGIN)
    _, after = rest.split(END)
    return f"{before}{BEGIN}{tables()}{END}{after}"


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put the tables into README.md")
    if parser.parse_args().write:
        readme = ROOT / "README.md"
        readme.write_text(with_tables(readme.read_text()))
    else:
        print(tables())


if __name__ == "__main__":
    main()
