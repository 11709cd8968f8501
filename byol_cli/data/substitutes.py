"""What is trained on in place of an image that cannot be read (dataset.on_bad_image=skip)."""

from collections.abc import Iterator

from torch import Tensor

from byol_cli.data.bad_images import BadImage
from byol_cli.data.images import image_or_reason
from byol_cli.data.sources import Subset
from byol_cli.schema.errors import InputError
from byol_cli.views.counter import Domain, hash64

MAX_TRIES = 64
"""Where half of all images cannot be read, this many in a row are met once in 10**19 times."""


def image_or_substitute(subset: Subset, index: int) -> tuple[Tensor, dict[int, BadImage]]:
    """The image at `index` of the whole set or, where bad images are skipped and it is one, another one of `subset`.

    Which one depends on `index` alone, so that it is the same in every epoch, in every worker and after a resume.

    Returns:
        uint8 (channels, height, width), and why the image, and what was tried before, could not be read, by index.

    Raises:
        InputError: the image cannot be read and is not to be skipped, or nothing that was tried can be read.
    """
    found = image_or_reason(subset.images, index)
    bad: dict[int, BadImage] = {}
    tries = substitutes(subset, index)
    while isinstance(found, BadImage):
        bad[index] = found
        index = next(tries, -1)
        if index < 0:
            raise InputError(f"{next(iter(bad.values()))}; nor can {MAX_TRIES} images that were tried in its place")
        found = image_or_reason(subset.images, index)
    return found, bad


def substitutes(subset: Subset, index: int) -> Iterator[int]:
    """The images of `subset` that are tried in place of the one at `index`, one after another."""
    for number in range(MAX_TRIES):
        yield int(subset.indices[int(hash64(Domain.SUBSTITUTE, index, number)) % len(subset)])
