"""dataset=digits: the handwritten digits that scikit-learn ships (Alpaydin and Kaynak 1998); no download."""

import numpy as np
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2.functional import resize

from byol_cli.data.images import ArrayImages
from byol_cli.data.sources import Sources, whole
from byol_cli.data.splits import Split, hold_out
from byol_cli.schema.dataset import DigitsConfig

WHITE = 16


def read_digits(config: DigitsConfig) -> Sources:
    """1,797 gray images of 10 classes, white on black, enlarged from 8 x 8 pixels; the test split is stratified.

    Raises:
        InputError: the test split would be too small.
    """
    from sklearn.datasets import load_digits  # late: it takes a second, in every worker process again

    digits = load_digits()
    small = torch.from_numpy(np.round(digits.images * (255 / WHITE)).astype(np.uint8))[:, None]
    size = [config.image_size, config.image_size]
    images = ArrayImages(
        images=resize(small, size, interpolation=InterpolationMode.BICUBIC, antialias=True),
        labels=digits.target.astype(np.int64),
        class_names=tuple(str(name) for name in digits.target_names),
        title="digits",
    )
    train, test = hold_out(whole(images), config.test_fraction, seed=config.split_seed, split=Split.TEST)
    return Sources(
        pretrain=train, labelled=train, test=test if len(test) else None, origin="the digits 0 to 9 as labels"
    )
