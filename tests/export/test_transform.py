"""`transform` gives the pixels that measurements see."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from byol_cli.data.bad_images import BadImages
from byol_cli.data.centre_crops import evaluation_batches
from byol_cli.data.image_folder import read_image_folder
from byol_cli.data.images import ArrayImages, ImageSet
from byol_cli.data.sources import whole
from byol_cli.export.transform import Transform
from byol_cli.schema.command import OPTIONS
from byol_cli.schema.dataset import DatasetConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import CONFIG_DIR, load

MEAN, STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


def transform(channels: int, *, keeps_exact_size: bool = False) -> Transform:
    mean, std = tuple(MEAN[:channels]), tuple(STD[:channels])
    return Transform(channels=channels, resize=40, image_size=32, mean=mean, std=std, keeps_exact_size=keeps_exact_size)


def measured(images: ImageSet) -> torch.Tensor:
    batches = evaluation_batches(
        whole(images),
        resize=40,
        image_size=32,
        batch_size=4,
        num_workers=0,
        timeout_seconds=60,
        bad_images=BadImages(num_images=len(images), max_share=0, say=print),
        device=torch.device("cpu"),
        mean=torch.tensor(MEAN[: images.channels]),
        std=torch.tensor(STD[: images.channels]),
    )
    return torch.cat(list(batches))


def write_pictures(folder: Path) -> None:
    rng = np.random.default_rng(0)
    smooth = np.asarray(Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize((80, 60)))
    Image.fromarray(smooth).save(folder / "a.jpg", quality=95)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(smooth).save(folder / "b.png", exif=exif)
    Image.fromarray(smooth).convert("L").save(folder / "c.png")
    Image.fromarray(np.dstack([smooth, smooth[..., :1]])).save(folder / "d.png")
    Image.fromarray(smooth).convert("P").save(folder / "e.gif")
    Image.fromarray(smooth).convert("CMYK").save(folder / "f.jpg", quality=95)
    Image.fromarray(smooth).resize((32, 32)).save(folder / "g.png")


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_and_paths_give_the_pixels_of_measurements(tmp_path: Path, channels: int) -> None:
    import yaml

    write_pictures(tmp_path)
    values = yaml.safe_load((CONFIG_DIR / "dataset" / "image_folder.yaml").read_text())
    config = load(DatasetConfig, {**values, "root": str(tmp_path), "test_fraction": 0.0}, OPTIONS)
    images = read_image_folder(config).pretrain.images.with_channels(channels)  # type: ignore[arg-type]
    expected, change = measured(images), transform(channels)
    paths = sorted(tmp_path.iterdir())
    assert len(expected) == len(paths) == 7
    level = 1 / 255 / min(STD) + 1e-6
    for path, image in zip(paths, expected, strict=True):
        assert torch.equal(change(path), image), path
        with Image.open(path) as picture:
            assert (change(picture) - image).abs().max() <= level, path


def test_tensors_alone_or_in_a_batch_give_the_pixels_of_measurements() -> None:
    pixels = torch.randint(0, 256, (3, 3, 50, 60), dtype=torch.uint8)
    expected = measured(ArrayImages(images=pixels, labels=None, class_names=()))
    change = transform(3, keeps_exact_size=True)
    assert torch.equal(change(pixels), expected)
    assert torch.equal(change(pixels[1]), expected[1])


def test_images_of_just_the_right_size_stay_as_they_are_where_those_of_the_run_did() -> None:
    pixels = torch.randint(0, 256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = measured(ArrayImages(images=pixels, labels=None, class_names=()))
    assert torch.equal(transform(3, keeps_exact_size=True)(pixels), expected)
    assert not torch.equal(transform(3)(pixels), expected)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.rand(3, 8, 8), r"image=torch\.float32 of shape \(3, 8, 8\) must be a PIL image, a path or a uint8"),
        (np.zeros((8, 8, 3)), "image=ndarray must be"),
        (Image.new("F", (8, 8)), "image=F has not 8 bits a channel; give the path"),
        ("nowhere.png", "nowhere.png: .*No such file"),
        (torch.zeros(2, 8, 8, dtype=torch.uint8), "2 channels cannot become 3"),
    ],
)
def test_anything_else_is_refused_in_one_line(image: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        transform(3)(image)  # type: ignore[arg-type]
