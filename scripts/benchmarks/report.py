"""Figures of several rounds: medians, paired ratios with their spread, and the tables that show them."""

import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.turns import Contender

CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, kw_only=True)
class Row:
    """What was measured of one contender: a value a round. `ours`: others are compared with it."""

    key: str
    title: str
    values: Sequence[float]
    ours: bool = False


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows in one unit. Names of figures in the JSON file begin with `key` and end with `suffix`."""

    key: str
    title: str
    unit: str
    rows: Sequence[Row]
    suffix: str = ""
    note: str = ""

    def name(self, *keys: str) -> str:
        """The name of a figure."""
        return "_".join(filter(None, (self.key, *keys))) + self.suffix

    def ratios(self) -> dict[str, list[float]]:
        """By name, how many times as fast as each other contender each of ours is, round by round."""
        ours, others = ([row for row in self.rows if row.ours is side] for side in (True, False))
        return {self.name(our.key, f"vs_{other.key}"): ratios(our, other) for our in ours for other in others}

    def markdown(self) -> str:
        """The table: the median of all rounds, the spread, and how our rows compare with each of the others."""
        ours = [row for row in self.rows if row.ours]
        lines = [[self.title, self.unit, "min to max", *(f"{our.title} is" for our in ours)]]
        for row in self.rows:
            compared = ["" if row.ours else times(ratios(our, row)) for our in ours]
            lines.append([row.title, number(statistics.median(row.values)), spread(row.values), *compared])
        return f"{markdown(lines)}\n\n{self.note}" if self.note else markdown(lines)


def rates(contenders: Sequence[Contender], seconds: Iterable[Sequence[float]]) -> list[Row]:
    """Units a second of each contender, from what each round took each of them."""
    return [
        Row(key=c.key, title=c.title, values=[c.units / taken for taken in column], ours=c.ours)
        for c, column in zip(contenders, zip(*seconds, strict=True), strict=True)
    ]


def ratios(ours: Row, other: Row) -> list[float]:
    """Ours by the other's of the same round, so that what slows down a whole round cancels out."""
    return [mine / theirs for mine, theirs in zip(ours.values, other.values, strict=True)]


def markdown(rows: Sequence[Sequence[str]]) -> str:
    """A table whose first row holds the titles."""
    lines = [rows[0], ["---"] * len(rows[0]), *rows[1:]]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def number(value: float) -> str:
    """Three digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(values: Sequence[float]) -> str:
    """The least and the greatest."""
    return f"{number(min(values))} to {number(max(values))}"


def times(values: Sequence[float]) -> str:
    """A ratio, such as 2.41x (2.38 to 2.44)."""
    return f"{number(statistics.median(values))}x ({spread(values)})"


def as_json(tables: Iterable[Table], machine: dict[str, Any]) -> dict[str, Any]:
    """Every median ratio by its name (bigger is better), then their spreads and all figures."""
    paired = {name: values for table in tables for name, values in table.ratios().items()}
    figures = {
        table.name(row.key): {"unit": table.unit, "median": statistics.median(row.values), "rounds": list(row.values)}
        for table in tables
        for row in table.rows
    }
    return {
        **{name: statistics.median(values) for name, values in paired.items()},
        "spread": {name: [min(values), max(values)] for name, values in paired.items()},
        "figures": figures,
        "machine": machine,
    }


def machine(packages: Iterable[str] = ()) -> dict[str, Any]:
    """Date, hardware, and the versions of torch, torchvision and `packages`."""
    import torch

    from byol_cli.data.worker_count import available_cores
    from byol_cli.training.runtime import resolve_runtime

    runtime = resolve_runtime(device="auto", precision="auto")
    return {
        "date": date.today().isoformat(),
        "processor": processor_model(),
        "cores": available_cores(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name(runtime.device) if runtime.on_cuda else runtime.device.type,
        "precision": runtime.precision,
        **{name: version(name) for name in ("torch", "torchvision", *packages)},
    }


def header(facts: dict[str, Any]) -> str:
    """One line of what `machine` gave."""
    device = "" if facts["device"] == "cpu" else f"{facts['device']}, "
    packages = [f"{name} {facts[name]}" for name in list(facts)[list(facts).index("torch") :]]
    return (
        f"{facts['date']}, {facts['processor']}, {facts['cores']} cores, {facts['threads']} torch threads, "
        f"{device}{facts['precision']}, {', '.join(packages)}"
    )


def processor_model() -> str:
    """As Linux names it, else what Python knows."""
    lines = CPU_INFO.read_text().splitlines() if CPU_INFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
