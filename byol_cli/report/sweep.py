"""A sweep's jobs: which settings gave what, as a table, as parallel coordinates, and in sweep.png."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from byol_cli.report.drawing import label
from byol_cli.report.markup import figure_text, section, short_number, table, text
from byol_cli.report.run_folder import RunFolder
from byol_cli.report.verdict import duration

SCORE = "selection_score"
FIGURES = {SCORE: "selection", "linear_top1": "linear", "knn_top1": "k-NN", "few_label_top1": "few labels"}
_BEGINNING = re.compile(r"(?:^|\s)([+~]{0,2}[\w./@-]+)=")
_WIDE = 50.0  # largest by smallest value from which on an axis is logarithmic
_TOP, _BOTTOM, _SIDE = 44, 34, 76
_ROOM = 948  # for the spaces between the axes, on a wide screen


@dataclass(frozen=True, kw_only=True)
class Job:
    """One line of sweep.csv."""

    number: str
    settings: dict[str, str]
    status: str
    figures: dict[str, float | None]
    seconds: float | None
    message: str

    @property
    def score(self) -> float | None:
        """What it is ranked by."""
        return self.figures[SCORE]


def jobs_in(run: RunFolder) -> list[Job]:
    """The jobs, best first as in sweep.csv."""
    return [
        Job(
            number=row.get("job", ""),
            settings=split_overrides(row.get("overrides", "")),
            status=row.get("status", ""),
            figures={name: _float(row.get(name, "")) for name in FIGURES},
            seconds=_float(row.get("seconds", "")),
            message=row.get("message", ""),
        )
        for row in run.sweep
    ]


def split_overrides(words: str) -> dict[str, str]:
    """`a=1 b.c=[2, 3]` as names and values; a value may hold spaces."""
    found = list(_BEGINNING.finditer(words))
    ends = [*(match.start() for match in found[1:]), len(words)]
    return {match[1]: words[match.end() : end].strip() for match, end in zip(found, ends, strict=True)}


def sweep_sentence(jobs: Sequence[Job]) -> str:
    """The verdict on a sweep."""
    done = [job for job in jobs if job.status == "done"]
    if not done or done[0].score is None:
        return f"Of {len(jobs)} jobs {len(done)} are done."
    failed = f" {len(jobs) - len(done)} did not get done." if len(done) < len(jobs) else ""
    return f"The best of {len(jobs)} jobs reaches {figure_text(done[0].score)} on the selection split.{failed}"


def best_settings(jobs: Sequence[Job]) -> str:
    """What the best job set, in a line; empty where none is done."""
    best = next((job for job in jobs if job.status == "done"), None)
    return "" if best is None else " · ".join(f"{name}={value}" for name, value in best.settings.items())


def sweep_html(run: RunFolder) -> str:
    """Parallel coordinates and the table of all jobs."""
    jobs = jobs_in(run)
    lead = "Ranked by the selection split alone. A line is a job, crossing each axis at its setting; bold is the best."
    chart = _coordinates(jobs)
    names = list(dict.fromkeys(name for job in jobs for name in job.settings))
    head = ["job", *names, "status", *FIGURES.values(), "time"]
    rows = [(_job_title(run, job), _job_cells(job, names)) for job in jobs]
    failures = "".join(
        f"<li>Job {text(job.number)}: {text(job.message)}</li>" for job in jobs if job.status != "done" and job.message
    )
    failed = f'<ul class="failures">{failures}</ul>' if failures else ""
    return section("sweep", "Sweep", f"{chart}{table('all jobs, best first', head, rows)}{failed}", lead=lead)


def _job_title(run: RunFolder, job: Job) -> str:
    there = job.number.isdecimal() and (run.path / job.number / "report.html").is_file()
    return f'<a href="{job.number}/report.html">{job.number}</a>' if there else text(job.number)


def _job_cells(job: Job, names: Sequence[str]) -> list[str]:
    settings = [text(job.settings.get(name, "–")) for name in names]
    figures = [figure_text(value) for value in job.figures.values()]
    return [*settings, text(job.status), *figures, text(duration(job.seconds) or "–")]


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A setting's values from 0, below, to 1, above: numbers by size, anything else side by side."""

    name: str
    places: dict[str, float]


def axes_of(jobs: Sequence[Job]) -> list[Axis]:
    """One axis for each setting that was swept."""
    axes = []
    for name in dict.fromkeys(name for job in jobs for name in job.settings):
        values = list(dict.fromkeys(job.settings[name] for job in jobs if name in job.settings))
        numbers = [_float(value) for value in values]
        if all(number is not None for number in numbers):
            axes.append(Axis(name=name, places=_scaled(dict(zip(values, numbers, strict=True)))))  # type: ignore[arg-type]
        else:
            places = {value: (index + 0.5) / len(values) for index, value in enumerate(sorted(values))}
            axes.append(Axis(name=name, places=places))
    return axes


def _scaled(numbers: dict[str, float]) -> dict[str, float]:
    low, high = min(numbers.values()), max(numbers.values())
    if low > 0 and high / low >= _WIDE:
        return _scaled({name: math.log(value) for name, value in numbers.items()})
    return {name: (value - low) / (high - low) if high > low else 0.5 for name, value in numbers.items()}


def _coordinates(jobs: Sequence[Job]) -> str:
    scored = [job for job in jobs if job.score is not None and job.status == "done"]
    axes = axes_of(scored)
    if len(scored) < 2 or not axes:
        return ""
    low, high = min(job.score or 0 for job in scored), max(job.score or 0 for job in scored)
    step = min(max(170, _ROOM // len(axes)), 316)
    width, height = step * len(axes) + 2 * _SIDE, 320

    def up(share: float) -> float:
        return height - _BOTTOM - share * (height - _TOP - _BOTTOM)

    drawn = []
    for index, axis in enumerate(axes):
        x = _SIDE + index * step
        ticks = "".join(
            f'<text x="{x - 8}" y="{up(place) + 4:.1f}" text-anchor="end">{text(value[:12])}</text>'
            for value, place in axis.places.items()
        )
        drawn.append(_axis(x, axis.name, height, ticks))
    x = _SIDE + len(axes) * step
    ends = "".join(
        f'<text x="{x + 8}" y="{up(share) + 4:.1f}">{figure_text(value)}</text>'
        for share, value in ((0.0, low), (1.0, high))
    )
    drawn.append(_axis(x, "selection", height, ends))
    lines = []
    for rank, job in reversed(list(enumerate(scored))):
        share = ((job.score or 0) - low) / (high - low) if high > low else 0.5
        places = [*(axis.places[job.settings[axis.name]] for axis in axes if axis.name in job.settings), share]
        if len(places) == len(axes) + 1:
            path = " ".join(f"{_SIDE + index * step},{up(place):.1f}" for index, place in enumerate(places))
            words = f"job {job.number}: {short_number(job.score or 0)}"
            best = " best" if rank == 0 else ""
            lines.append(f'<polyline class="job{best}" points="{path}"><title>{text(words)}</title></polyline>')
    spoken = f"Parallel coordinates of {len(scored)} jobs; the table below holds the same figures"
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="Parallel coordinates"><svg class="coordinates" '
        f'viewBox="0 0 {width} {height}" width="{width}" role="img" aria-label="{spoken}">'
        f"{''.join(lines)}{''.join(drawn)}</svg></div>"
    )


def _axis(x: float, name: str, height: int, ticks: str) -> str:
    return (
        f'<line class="axis" x1="{x}" x2="{x}" y1="{_TOP}" y2="{height - _BOTTOM}"/>'
        f'<text class="name" x="{x}" y="20" text-anchor="middle">{text(name[-26:])}</text>{ticks}'
    )


def save_sweep(path: Path, jobs: Sequence[Job]) -> None:
    """sweep.png: the score over each setting; raises OSError where it cannot be written."""
    scored = [job for job in jobs if job.score is not None]
    axes_found = axes_of(scored)
    if not axes_found:
        return
    figure = Figure(figsize=(4 * len(axes_found) + 1, 4), layout="constrained")
    grid = figure.subplots(1, len(axes_found), squeeze=False, sharey=True)
    for axes, axis in zip(grid.flat, axes_found, strict=True):
        chosen = [job for job in scored if axis.name in job.settings]
        axes.scatter([axis.places[job.settings[axis.name]] for job in chosen], [job.score for job in chosen])
        axes.set_xticks(list(axis.places.values()), list(map(label, axis.places)))
        axes.set(xlabel=axis.name, ylabel="selection split")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)


def _float(value: str) -> float | None:
    try:
        number = float(value)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
