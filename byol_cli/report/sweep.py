"""sweep.html: which settings gave what, as parallel coordinates and as a table, and in sweep.png."""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from byol_cli.report.coordinates import axes_of, coordinates_html, coordinates_of, save_coordinates
from byol_cli.report.drawing import label
from byol_cli.report.jobs import FIGURES, Job, jobs_in, number_in
from byol_cli.report.markup import figure_text, section, short_number, table, text
from byol_cli.report.run_folder import RunFolder
from byol_cli.report.verdict import duration
from byol_cli.training.files import tolerated

MOST_ROWS = 200  # best first; sweep.csv has all
_NAME = re.compile(r"\w[\w-]*")  # of a job's folder
_UNDONE = ("not run", "running", "unfinished", "interrupted")


def sweep_sentence(jobs: Sequence[Job]) -> str:
    """The verdict on a sweep."""
    done = [job for job in jobs if job.status == "done"]
    if not done or done[0].score is None:
        return f"Of {len(jobs):,} jobs {len(done):,} are done."
    failed = f" {len(jobs) - len(done):,} did not get done." if len(done) < len(jobs) else ""
    return f"The best of {len(jobs):,} jobs reaches {figure_text(done[0].score)} on the selection split.{failed}"


def best_settings(jobs: Sequence[Job]) -> str:
    """What the best job set, in a line; empty where none is done."""
    best = next((job for job in jobs if job.status == "done"), None)
    return "" if best is None else " · ".join(f"{name}={value}" for name, value in best.settings.items())


def sweep_parts(run: RunFolder, *, say: Callable[[str], None]) -> list[str]:
    """What the page holds; its pictures are written beside it, and `say` is told where they cannot be."""
    jobs = jobs_in(run)
    drawn = coordinates_of(jobs)
    with tolerated(run.path / "sweep.png", say=say):
        save_sweep(run.path / "sweep.png", jobs)
    if drawn is not None:
        with tolerated(run.path / "coordinates.png", say=say):
            save_coordinates(run.path / "coordinates.png", drawn)
    heading = f'<h1>{text(sweep_sentence(jobs))}</h1><p class="under">{text(best_settings(jobs))}</p>'
    lead = "Ranked by the selection split alone. A line is a job, crossing each axis at its setting; bold is the best."
    chart = "" if drawn is None else coordinates_html(drawn)
    return [
        f'<header class="verdict">{heading}</header>',
        section("sweep", "Sweep", f"{chart}{_jobs_html(run, jobs)}", lead=lead),
        _failures_html(run, jobs),
    ]


def _jobs_html(run: RunFolder, jobs: Sequence[Job]) -> str:
    names = list(dict.fromkeys(name for job in jobs for name in job.settings))
    shown = jobs[:MOST_ROWS]
    caption = "all jobs, best first" if len(shown) == len(jobs) else f"the best {len(shown)} of {len(jobs):,} jobs"
    rows = [(_job_title(run, job), _job_cells(job, names)) for job in shown]
    more = "" if len(shown) == len(jobs) else '<p class="note">All of them are in sweep.csv.</p>'
    return f"{table(caption, ['job', *names, 'status', *FIGURES.values(), 'time'], rows)}{more}"


def _failures_html(run: RunFolder, jobs: Sequence[Job]) -> str:
    """Every job that came to no end of its own, and why."""
    failures = [job for job in jobs if job.message and job.status != "done"]
    if not failures:
        return ""
    items = "".join(
        f"<li>Job {_job_title(run, job)}, {text(job.status)}: {text(job.message)}"
        f"{f' <small>{text(_settings(job))}</small>' if job.settings else ''}</li>"
        for job in failures[:MOST_ROWS]
    )
    more = len(failures) - MOST_ROWS
    note = f'<p class="note">And {more:,} more in sweep.csv.</p>' if more > 0 else ""
    waiting = sum(job.status in _UNDONE for job in jobs)
    lead = "The same command with this folder leaves alone what is finished, and goes on with the rest."
    return section("failures", "Not done", f'<ul class="failures">{items}</ul>{note}', lead=lead if waiting else "")


def _settings(job: Job) -> str:
    return " · ".join(f"{name}={value}" for name, value in job.settings.items())


def _job_title(run: RunFolder, job: Job) -> str:
    there = _NAME.fullmatch(job.name) and (run.path / job.name / "report.html").is_file()
    return f'<a href="{job.name}/report.html">{job.name}</a>' if there else text(job.name)


def _job_cells(job: Job, names: Sequence[str]) -> list[str]:
    settings = [_setting(job.settings.get(name, "–")) for name in names]
    figures = [figure_text(value) for value in job.figures.values()]
    return [*settings, text(job.status), *figures, text(duration(job.seconds) or "–")]


def _setting(value: str) -> str:
    """A long number in short, as it was drawn by a sweeper; pointing at it shows it whole."""
    number = number_in(value)
    if number is None or len(value) <= 8:
        return text(value)
    return f'<span title="{text(value)}">{text(short_number(number))}</span>'


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
        ticks = axis.ticks()
        axes.set_xticks(list(ticks.values()), list(map(label, ticks)))
        axes.set(xlabel=axis.name, ylabel="selection split")
        axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
