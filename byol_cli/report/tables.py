"""Every measurement with its baselines beside it."""

from collections.abc import Sequence

from byol_cli.report.markup import figure_text, plain_value, section, table, text
from byol_cli.report.measured import REPRESENTATIONS, Measured

FIGURES = {
    "top1": "top-1",
    "top5": "top-5",
    "map": "mean average precision",
    "equal_error_rate": "equal error rate",
    "roc_area": "area under the ROC curve",
    "rankme": "RankMe",
}
_SPREAD = "std"  # belongs to the figure before it
_LESS_IS_BETTER = frozenset({"equal_error_rate"})
_NO_RANKING = frozenset({"alignment", "uniformity", "effective_rank", "rankme"})  # on their own they tell nothing
_LONG = frozenset({"roc", "accuracies"})  # settings that are lists of numbers without end


def results_html(results: Sequence[Measured]) -> str:
    """A table for each data set and part of it that was measured on; those of older checkpoints are folded."""
    if not results:
        return ""
    lead = "The trained backbone beside what it must beat; the better figure of a row is in bold."
    brackets = any(result.interval for result in results)
    lead += " In brackets the 95 % interval." if brackets else ""
    older = _tables([result for result in results if not result.newest])
    folded = f"<details><summary>Older checkpoints</summary>{older}</details>" if older else ""
    newest = _tables([result for result in results if result.newest])
    return section("results", "Results", f"{newest}{folded}{_how(results)}", lead=lead)


def _tables(results: Sequence[Measured]) -> str:
    ranked = sorted(results, key=lambda result: result.rank, reverse=True)
    parts = dict.fromkeys(result.table for result in ranked)
    return "".join(_results_table([result for result in results if result.table == part]) for part in parts)


def _how(results: Sequence[Measured]) -> str:
    """The settings of each measurement, folded; those of the trained backbone, where they differ by what was chosen."""
    found: dict[tuple[str, str], dict[str, None]] = {}
    for title, part in dict.fromkeys((result.title, result.table) for result in results):
        alike = [result for result in results if (result.title, result.table) == (title, part)]
        settings = next((result for result in alike if result.representation == "trained"), alike[0]).settings
        words = [f"{name.replace('_', ' ')} {plain_value(settings[name])}" for name in settings if name not in _LONG]
        if words:
            found.setdefault((title, "; ".join(words)), {})[alike[0].place] = None
    if not found:
        return ""
    titles = [title for title, _ in found]
    rows = [
        (text(title if titles.count(title) == 1 else f"{title}, on {', '.join(places)}"), [text(words)])
        for (title, words), places in found.items()
    ]
    listed = table("settings of each measurement, as for the trained backbone", ["", "settings"], rows, kind="listing")
    return f"<details><summary>How it was measured</summary>{listed}</details>"


def _results_table(results: Sequence[Measured]) -> str:
    columns = [name for name in REPRESENTATIONS if any(result.representation == name for result in results)]
    rows = []
    for title in dict.fromkeys(result.title for result in results):
        found = {result.representation: result for result in results if result.title == title}
        names = dict.fromkeys(name for result in found.values() for name in result.figures if name != _SPREAD)
        rows += [
            (_row_title(title, name, again=place > 0), _cells(found, columns, name)) for place, name in enumerate(names)
        ]
    return table(f"On {results[0].place}", ["", *map(REPRESENTATIONS.__getitem__, columns)], rows)


def _row_title(title: str, figure: str, *, again: bool) -> str:
    """The measurement is written in the first of its rows alone, and there for whoever listens in all of them."""
    words = figure.replace("true_accept_at_false_accept_", "accepted at a false rate of ").replace("_", " ")
    measure = f'<span class="again">{text(title)}</span>' if again else text(title)
    return f"{measure} <small>{text(FIGURES.get(figure, words))}</small>"


def _cells(found: dict[str, Measured], columns: Sequence[str], figure: str) -> list[str]:
    values = {name: found[name].figures.get(figure) for name in columns if name in found}
    known = [value for value in values.values() if value is not None]
    best = None
    if len(set(known)) > 1 and figure not in _NO_RANKING:
        best = min(known) if figure in _LESS_IS_BETTER else max(known)
    return [_cell(found.get(name), values.get(name), figure, best=best) for name in columns]


def _cell(result: Measured | None, value: float | None, figure: str, *, best: float | None) -> str:
    written = figure_text(value)
    if result is None or value is None:
        return written
    spread = result.figures.get(_SPREAD)
    if figure == "top1" and spread is not None:
        written += f"<small> ± {figure_text(spread)}</small>"
    if figure in result.interval:
        low, high = result.interval[figure]
        written += f"<small> [{figure_text(low)}, {figure_text(high)}]</small>"
    return f"<b>{written}</b>" if value == best else written
