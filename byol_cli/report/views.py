"""The two views of a few images: what the networks were shown."""

import io
from pathlib import Path

from PIL import Image
from tensorboard.backend.event_processing.event_file_loader import LegacyEventFileLoader

from byol_cli.report.markup import data_uri, section, text
from byol_cli.report.run_folder import RunFolder

TAG = "views"
_LEAD = "What the networks saw. From one view of an image, BYOL predicts what the target network makes of the other."


def views_html(run: RunFolder) -> str:
    """Each image's two views, cut from the picture that training gave to TensorBoard; without it, views.png whole."""
    size = run.setting("augmentation.image_size")
    grid = first_picture(run.path / "tensorboard")
    if grid is not None and isinstance(size, int):
        body = _pairs(grid, size)
    elif (run.path / "views.png").is_file():
        address = data_uri((run.path / "views.png").read_bytes(), kind="png")
        body = f'<img class="plate" src="{address}" alt="Each image\'s view 1, below it its view 2">'
    else:
        return ""
    return section("views", "Views", body, lead=_LEAD)


def first_picture(folder: Path) -> Image.Image | None:
    """The picture named `views` in TensorBoard's event files, None where there is none."""
    for path in sorted(folder.glob("events.out.tfevents.*")):
        for event in LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                if value.tag == TAG and value.HasField("image"):
                    return Image.open(io.BytesIO(value.image.encoded_image_string)).convert("RGB")
    return None


def _pairs(grid: Image.Image, size: int) -> str:
    """The cells of `training.pictures.view_grid`: view 1 of all images in the upper row, view 2 in the lower."""
    padding = max(1, size // 16)
    columns = (grid.width - padding) // (size + padding)
    figures = []
    for column in range(columns):
        left = padding + column * (size + padding)
        cells = [grid.crop((left, top, left + size, top + size)) for top in (padding, padding + size + padding)]
        pictures = "".join(
            f'<img src="{_address(cell)}" width="{size}" height="{size}" '
            f'alt="{text(f"image {column + 1}, view {number}")}">'
            for number, cell in enumerate(cells, start=1)
        )
        figures.append(f"<figure>{pictures}</figure>")
    sharp = " sharp" if size <= 64 else ""
    return f'<div class="views{sharp}">{"".join(figures)}</div><p class="note">Above view 1, below it view 2.</p>'


def _address(picture: Image.Image) -> str:
    file = io.BytesIO()
    if picture.width <= 64:
        picture.save(file, format="PNG", optimize=True)
        return data_uri(file.getvalue(), kind="png")
    picture.thumbnail((160, 160))
    picture.save(file, format="WEBP", quality=85)
    return data_uri(file.getvalue(), kind="webp")
