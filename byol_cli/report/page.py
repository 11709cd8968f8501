"""report.html and sweep.html: one file that shows a run or a sweep to people, and needs nothing but itself."""

import base64
import hashlib
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path
from string import Template

import byol_cli
from byol_cli.report.classes import classes_html, save_classes
from byol_cli.report.confusion import confusion_html, save_confusion, shown_result
from byol_cli.report.curves import curves_html, gauges_html
from byol_cli.report.embedding_map import map_html, projections, save_embedding
from byol_cli.report.gallery import Gallery, sheet
from byol_cli.report.markup import data_uri, text
from byol_cli.report.neighbors import nearest, neighbors_html, save_neighbors
from byol_cli.report.results import measured_in
from byol_cli.report.roc import roc_html, save_roc, with_roc
from byol_cli.report.run_folder import RunFolder, read_run_folder
from byol_cli.report.settings import command, commands_html, settings_html, summary_line
from byol_cli.report.sweep import sweep_parts
from byol_cli.report.tables import results_html
from byol_cli.report.tensorboard import write_board
from byol_cli.report.verdict import verdict_html
from byol_cli.report.views import views_html
from byol_cli.training.recorder import tolerated, write_whole

REPORT, SWEEP_REPORT = "report.html", "sweep.html"
_NEAR = 5  # neighbours shown beside an image on the map
_SHARP = 24  # thumbnails of fewer pixels a side are shown as they are, others smoothly


def write_report(
    run_dir: Path,
    *,
    gallery: Gallery | None,
    say: Callable[[str], None],
    tsne: bool = False,
    facts: Mapping[str, str] | None = None,
) -> Path | None:
    """Write report.html, its pictures and TensorBoard's projector and hparams from what lies in `run_dir`.

    Args:
        run_dir: of a run.
        gallery: what the map and the neighbours show; None: neither is there.
        say: is told in a line of what cannot be written or read; that ends nothing.
        tsne: a second map by t-SNE, which takes some seconds.
        facts: about the data and the machine, to be shown as they are.

    Returns:
        The path of report.html, None where it cannot be written.
    """
    path, written = run_dir / REPORT, False
    with tolerated(path, say=say):
        run = read_run_folder(run_dir, say=say)
        write_whole(path, page(run, _run_parts(run, gallery, tsne=tsne, facts=facts or {}, say=say)))
        written = True
        write_board(run, gallery, say=say)
    return path if written else None


def write_sweep_report(sweep_dir: Path, *, say: Callable[[str], None]) -> Path:
    """Write sweep.html and its pictures from the sweep.csv in `sweep_dir`; `say` is told of what cannot be written.

    Returns:
        The path of sweep.html.
    """
    path = sweep_dir / SWEEP_REPORT
    with tolerated(path, say=say):
        run = read_run_folder(sweep_dir, say=say)
        write_whole(path, page(run, sweep_parts(run, say=say)))
    return path


def _run_parts(
    run: RunFolder,
    gallery: Gallery | None,
    *,
    tsne: bool,
    facts: Mapping[str, str],
    say: Callable[[str], None],
) -> list[str]:
    results = measured_in(run)
    detailed = shown_result(results)
    if detailed is not None:
        with tolerated(run.path / "classes.png", say=say):
            save_classes(run.path / "classes.png", detailed)
    if detailed is not None and detailed.confusion is not None:
        with tolerated(run.path / "confusion.png", say=say):
            save_confusion(run.path / "confusion.png", detailed)
    if with_roc(results):
        with tolerated(run.path / "roc.png", say=say):
            save_roc(run.path / "roc.png", with_roc(results))
    return [
        f'<header class="verdict">{verdict_html(run, under=summary_line(run))}</header>',
        results_html(results),
        curves_html(run),
        gauges_html(run),
        views_html(run),
        *([] if gallery is None else _gallery_parts(run, gallery, tsne=tsne, say=say)),
        roc_html(results),
        confusion_html(detailed),
        classes_html(detailed),
        commands_html(run),
        settings_html(run, facts),
    ]


def _gallery_parts(run: RunFolder, gallery: Gallery, *, tsne: bool, say: Callable[[str], None]) -> list[str]:
    packed, kind, columns = sheet(gallery)
    places = projections(gallery, tsne=tsne)
    neighbors, cosines = nearest(gallery)
    with tolerated(run.path / "embedding.png", say=say):
        save_embedding(run.path / "embedding.png", gallery, places)
    with tolerated(run.path / "neighbors.png", say=say):
        save_neighbors(run.path / "neighbors.png", gallery, neighbors)
    rows = -(-len(gallery) // columns)
    style = (
        f".thumb{{background-image:url({data_uri(packed, kind=kind)});--columns:{columns};--rows:{rows};"
        f"image-rendering:{'pixelated' if gallery.thumbnails.shape[-1] <= _SHARP else 'auto'}}}"
    )
    return [
        f"<style>{style}</style>",
        map_html(
            gallery,
            places,
            columns=columns,
            neighbors=neighbors[:, :_NEAR],
            tsne=command("byol-eval", checkpoint=run.checkpoint, tsne="true"),
        ),
        neighbors_html(gallery, neighbors, cosines, columns=columns),
    ]


def page(run: RunFolder, parts: list[str]) -> str:
    """The whole file, in ASCII: what else there is stands as character references.

    Its policy lets the browser fetch nothing and run no script but the page's own, whatever names hold.
    """
    assets = files("byol_cli.report") / "assets"
    script = (assets / "report.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    shown = [part for part in parts if part]
    name = str(run.setting("name") or run.path.resolve().name)
    written = Template((assets / "page.html").read_text(encoding="utf-8")).substitute(
        title=text(f"{name}: byol-cli report"),
        policy=f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'sha256-{digest}'",
        style=(assets / "report.css").read_text(encoding="utf-8"),
        kind="Sweep" if run.is_sweep else "Run",
        name=text(name),
        folder=text(run.path),
        time=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        version=text(byol_cli.__version__),
        links="".join(_links(shown)),
        body="\n".join(shown),
        script=script,
    )
    return written.encode("ascii", "xmlcharrefreplace").decode()


def _links(parts: list[str]) -> list[str]:
    """A link to each section, by its anchor and its heading."""
    links = []
    for part in parts:
        if part.startswith("<section"):
            anchor = part.split('"', 2)[1]
            title = part.split("</h2>", 1)[0].rsplit(">", 1)[1]
            links.append(f'<a href="#{anchor}">{title}</a>')
    return links
