"""dataset=synthetic: random pixels in memory, to measure speed where nothing is to be learned."""

import math

import torch

from byol_cli.data.images import ArrayImages
from byol_cli.data.room import refuse_more_than_there_is
from byol_cli.data.sources import Sources, whole
from byol_cli.schema.dataset import SyntheticConfig


def read_synthetic(config: SyntheticConfig) -> Sources:
    """`num_images` square images of `channels` (null: 3), the same for the same `split_seed`; no labels, no test."""
    shape = (config.num_images, config.channels or 3, config.image_size, config.image_size)
    refuse_more_than_there_is(
        math.prod(shape), what=f"dataset.num_images={config.num_images} of dataset.image_size={config.image_size}"
    )
    generator = torch.Generator().manual_seed(config.split_seed)
    pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator)
    images = whole(ArrayImages(images=pixels, labels=None, class_names=(), title="synthetic"))
    return Sources(pretrain=images, labelled=images, test=None, origin="no labels (random pixels)")
