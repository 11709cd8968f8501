"""Two views of every image, from JPEG files: images a second on one thread."""

from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, read_file
from torchvision.transforms import RandomResizedCrop
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resized_crop

from benchmarks import peers
from benchmarks.options import Options
from benchmarks.pictures import NUM_ICONS, NUM_PHOTOS, jpeg_files, link_pictures, write_pictures
from benchmarks.product import prepared
from benchmarks.report import Table, rates
from benchmarks.turns import Contender, Turn, repeat, seconds_by_turns
from byol_cli.data.images import FileImages
from byol_cli.data.loader import crops_of_files
from byol_cli.data.pieces import join_pieces, split_into_pieces
from byol_cli.data.sampler import MicroBatch
from byol_cli.training.setup import Run

Pass = Callable[[int], object]
"""Makes the views of all files once; it is told how many times it has done so."""

NOTE = (
    "byol-pytorch's row is its augmentation alone, on decoded images of one size, {} at a time: it draws once a batch, "
    "so that all its images are changed alike, and from distributions of its own."
)


def tables(options: Options) -> Iterator[Table]:
    """The paper's views at 224 px from photos (of 640 x 427 where they are made up), and at 32 px from 32 x 32."""
    with TemporaryDirectory() as name:
        photos, icons = Path(name) / "photos", Path(name) / "icons"
        if options.images is None:
            write_pictures(photos, NUM_PHOTOS, height=427, width=640, quality=85, grain=0.026)
        else:
            link_pictures(options.images, photos)
        write_pictures(icons, NUM_ICONS, height=32, width=32, quality=95, grain=0.005)
        yield _table(options, photos, size=224, passes=1)
        yield _table(options, icons, size=32, passes=2)


def _table(options: Options, folder: Path, *, size: int, passes: int) -> Table:
    files = jpeg_files(folder)
    settings = {"folder": folder, "size": size, "passes": passes}

    def contender(key: str, title: str, make: Callable[..., Pass], *, ours: bool = False) -> Contender:
        made = {**settings, "make": make}
        return Contender(key=key, title=title, work=_go_through, units=len(files) * passes, settings=made, ours=ours)

    contenders = [
        contender("", "byol-cli", whole, ours=True),
        contender("worker", "byol-cli's worker half", worker_half, ours=True),
    ]
    if "lightly" in options.peers:
        contenders.append(contender("lightly", "lightly, BYOLTransform", peers.lightly_views))
    if "byol-pytorch" in options.peers:
        contenders.append(contender("byol_pytorch", "byol-pytorch, from decoded batches", peers.byol_pytorch_views))
    contenders += [
        contender("decode", "floor: decoding", decoding),
        contender("decode_and_crops", "floor: decoding and two crops", cropping),
    ]
    seconds = seconds_by_turns(contenders, rounds=options.rounds, threads=1)
    return Table(
        key=f"views_{size}",
        title=f"two views of {size} px from {len(files)} files, one thread",
        unit="images/s",
        rows=rates(contenders, seconds),
        note=NOTE.format(peers.CHANGED_ALIKE) if "byol-pytorch" in options.peers else "",
    )


def _go_through(turn: Turn, *, make: Callable[..., Pass], folder: Path, size: int, passes: int) -> None:
    make_views, numbers = make(folder, size), count()
    repeat(turn, lambda: make_views(next(numbers)), steps=passes)


def worker_half(folder: Path, size: int) -> Callable[[int], Tensor]:
    """What the product's workers do, piece by piece: decode, draw, two uint8 crops."""
    run = _run(folder, size)
    subset = run.splits.pretrain
    images, indices = subset.images, subset.indices
    assert isinstance(images, FileImages)
    pieces = split_into_pieces(indices, image_bytes=2 * images.channels * size**2)

    def make_crops(number: int) -> Tensor:
        crops = (crops_of_files(subset, run.views, MicroBatch(number, number, piece)).pixels for piece in pieces)
        return join_pieces(crops, num_images=len(indices), device=run.runtime.device)

    return make_crops


def whole(folder: Path, size: int) -> Pass:
    """The worker half, then the half that runs where the network is: finished, normalised views."""
    run, make_crops = _run(folder, size), worker_half(folder, size)
    indices = run.splits.pretrain.indices

    def make_views(number: int) -> object:
        return run.views.finish(make_crops(number), epoch=number, indices=indices, mean=run.mean, std=run.std)

    return make_views


def decoding(folder: Path, size: int) -> Pass:
    """Nothing but reading and decoding."""
    files = jpeg_files(folder)
    return lambda _: [decode_jpeg(read_file(file), ImageReadMode.RGB) for file in files]


def cropping(folder: Path, size: int) -> Pass:
    """Reading, decoding, and torchvision's two uint8 crops from boxes drawn before."""
    files = jpeg_files(folder)
    images = [decode_jpeg(read_file(file), ImageReadMode.RGB) for file in files]
    boxes = [[RandomResizedCrop.get_params(image, [0.08, 1.0], [3 / 4, 4 / 3]) for _ in range(2)] for image in images]

    def make_crops(_: int) -> None:
        for file, pair in zip(files, boxes, strict=True):
            image = decode_jpeg(read_file(file), ImageReadMode.RGB)
            for box in pair:
                resized_crop(image, *box, [size, size], InterpolationMode.BICUBIC, antialias=True)

    return make_crops


def _run(folder: Path, size: int) -> Run:
    """The product with the paper's distributions at `size`; of its networks nothing is used."""
    return prepared(
        [
            "dataset=image_folder",
            f'dataset.root="{folder}"',
            "dataset.channels=3",
            "dataset.labels=none",
            "dataset.normalization=imagenet",
            "dataset.test_fraction=0",
            "dataset.selection_fraction=0",
            "augmentation=byol",
            f"augmentation.image_size={size}",
            f"augmentation.evaluation_resize={size}",
            "backbone=resnet_small",
            "head=small",
            "trainer.batch_size=2",
            "trainer.device=cpu",
        ]
    )
