"""From a file to uint8 pixels: JPEGs by torchvision, other pictures by Pillow, `.npy` arrays by NumPy.

A picture's content says what it is, not its extension. What is transparent lies on white, as on a page.
"""

import struct
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO

import numpy as np
import torch
import torchvision.io  # noqa: F401 (it loads the operators)
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from byol_cli.data.bad_images import BadImage
from byol_cli.schema.errors import InputError

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".npy")

# Pillow is held to these, because some of its other readers start programs (EPS) or fetch more files.
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP", "TIFF", "PPM")
_WHITES: dict[str, tuple[int, ...]] = {
    "I;16": (65535,),
    "I;16B": (65535,),
    "I;16L": (65535,),
    "I": (255, 65535, 2**32 - 1),
    "F": (1, 255, 65535),
}
_GRAY_MODES = ("1", "L", "LA", *_WHITES)
_LUMA = (19595, 38470, 7471)  # ITU-R 601-2 in units of 1 / 65536, as Pillow has it
_CONVERTED_AT_ONCE = 1024
# The operator itself: its public wrapper warns, for each image, that torchvision will give its decoders up one day.
# Without it, in such a version or in one that was built without libjpeg, Pillow decodes everything.
_decode_jpeg = getattr(torch.ops.image, "decode_jpeg", None)
_UNCHANGED = 0  # torchvision's ImageReadMode of that name

_MAX_PIXELS = Image.MAX_IMAGE_PIXELS or 0  # Pillow's own limit; more is taken for an attack on memory
_JPEG_START = b"\xff\xd8\xff"
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # markers that tell the picture's size
_JPEG_SCAN, _JPEG_END = 0xDA, b"\xff\xd9"


def decode(path: str, channels: int) -> Tensor:
    """Read one image from its file: see `decode_data`."""
    return decode_data(read_file(path), channels, path=path)


def decode_data(data: bytearray, channels: int, *, path: str) -> Tensor:
    """Decode one image, upright by its EXIF orientation; of an animation the first frame.

    Args:
        data: what its file holds.
        channels: how many are wanted.
        path: where it lies, for messages; its end tells an array from a picture.

    Returns:
        uint8 (channels, height, width).

    Raises:
        BadImage: in one line, the file and why it cannot be had with so many channels.
        InputError: there is too little memory for it, which is not the file's fault.
    """
    with _refused_by_name(path):
        if _is_array(path):
            return to_channels(_decode_array(data), channels)
        if _is_cut_off_jpeg(data):
            raise InputError("the image is cut off: the end of its file is missing")
        image = _decode_plain_jpeg(data)
        return to_channels(_decode_picture(data, gray=channels == 1) if image is None else image, channels)


def count_channels(data: bytearray, *, path: str) -> int:
    """The channels that an image has of its own, 1 or 3 for a picture; raises BadImage as `decode_data` does."""
    with _refused_by_name(path):
        if _is_array(path):
            return len(_decode_array(data))
        with _open(BytesIO(data)) as picture:
            return 1 if picture.mode in _GRAY_MODES else 3


def read_file(path: str) -> bytearray:
    """All that a file holds; raises BadImage as `decode_data` does."""
    with _refused_by_name(path), open(path, "rb", buffering=0) as file:
        return bytearray(file.readall())


def to_channels(images: Tensor, channels: int) -> Tensor:
    """Gray to red, green and blue by repetition, the other way by ITU-R 601 luma.

    Args:
        images: uint8 (..., channels, height, width), one image or a batch.
        channels: how many are wanted.

    Raises:
        InputError: there is no such conversion.
    """
    own = images.shape[-3]
    if own == channels:
        return images
    if (own, channels) == (1, 3):
        return images.expand(*images.shape[:-3], 3, -1, -1).contiguous()
    if (own, channels) == (3, 1):
        planes = images.reshape(-1, *images.shape[-3:])
        return torch.cat([_luma(part) for part in planes.split(_CONVERTED_AT_ONCE)]).view(
            *images.shape[:-3], 1, *images.shape[-2:]
        )
    raise InputError(f"{own} channels cannot become {channels}; dataset.channels converts 1 to 3 and 3 to 1")


def _luma(images: Tensor) -> Tensor:
    red, green, blue = (weight * plane.int() for weight, plane in zip(_LUMA, images.unbind(-3), strict=True))
    return ((red + green + blue + 2**15) >> 16).to(torch.uint8)


@contextmanager
def _refused_by_name(path: str) -> Iterator[None]:
    """Turn whatever goes wrong with a file into a BadImage of one line that names it."""
    try:
        yield
    except InputError as error:
        raise BadImage(path, str(error)) from None
    except MemoryError as error:
        raise InputError(f"{path}: there is not enough memory to decode the image") from error
    except UnidentifiedImageError:
        raise BadImage(path, "this is no image in a format that is read here, or its beginning is damaged") from None
    # Decoders meet a damaged file with every kind of exception: ValueError, SyntaxError, struct.error, IndexError ...
    except Exception as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split()) or type(error).__name__
        raise BadImage(path, f"the image cannot be read: {reason}") from error


def _is_array(path: str) -> bool:
    return path.lower().endswith(".npy")


def _decode_array(data: bytearray) -> Tensor:
    try:
        values = np.load(BytesIO(data), allow_pickle=False)
    except MemoryError:
        raise InputError("an array of more values than there is memory for, by its own account") from None
    if values.dtype != np.uint8 or values.ndim not in (2, 3) or values.size == 0:
        raise InputError(
            f"{values.dtype} values of shape {values.shape}; "
            "an array must be uint8, (height, width) or (height, width, channels)"
        )
    return _to_planes(values)


def _decode_plain_jpeg(data: bytearray) -> Tensor | None:
    """A gray or three-channel JPEG of reasonable size, at half of Pillow's cost; None for Pillow to judge."""
    if _decode_jpeg is None or not _is_plain_jpeg(data):
        return None
    try:
        return _decode_jpeg(torch.frombuffer(data, dtype=torch.uint8), _UNCHANGED, True)  # True: upright by EXIF
    except RuntimeError:  # damaged: Pillow says in words what is wrong
        return None


def _is_plain_jpeg(data: bytearray) -> bool:
    if not data.startswith(_JPEG_START):
        return False
    for marker, place in _jpeg_segments(data):
        if marker in _JPEG_FRAMES:
            depth, height, width, channels = struct.unpack_from(">BHHB", data, place + 4)
            return depth == 8 and channels in (1, 3) and height * width <= _MAX_PIXELS
    return False


def _is_cut_off_jpeg(data: bytearray) -> bool:
    """Whether the end is missing, perhaps with zeros in its place: Pillow may paint the rest gray and say nothing."""
    if not data.startswith(_JPEG_START):
        return False
    scan = next((place for marker, place in _jpeg_segments(data) if marker == _JPEG_SCAN), None)
    return scan is not None and data.rfind(_JPEG_END, scan) < 0


def _jpeg_segments(data: bytearray) -> Iterator[tuple[int, int]]:
    """Marker and place of each segment up to the first scan."""
    place = 2
    while place + 10 <= len(data) and data[place] == 0xFF:
        yield data[place + 1], place
        if data[place + 1] == _JPEG_SCAN:
            return
        place += 2 + struct.unpack_from(">H", data, place + 2)[0]


def _decode_picture(data: bytearray, *, gray: bool) -> Tensor:
    picture = _open(BytesIO(data))
    ImageOps.exif_transpose(picture, in_place=True)
    if picture.mode in _WHITES:
        picture = _to_eight_bits(picture)
    if "A" in picture.getbands() or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
    mode = "L" if gray else "RGB"
    pixels = np.array(picture if picture.mode == mode else picture.convert(mode))
    return _to_planes(pixels)


def _open(source: BytesIO) -> Image.Image:
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        return Image.open(source, formats=_FORMATS)


def _to_eight_bits(picture: Image.Image) -> Image.Image:
    """Scale gray of 16 bits, 32 bits or floating point so that its white becomes 255.

    PNG and PGM tell their depth: their white is 65535. A TIFF of 32 bits does not tell how many of them it uses: there,
    white is the smallest usual one that no pixel exceeds.
    """
    values = np.asarray(picture).astype(np.float64)
    usual = _WHITES["I;16" if picture.mode == "I" and picture.format != "TIFF" else picture.mode]
    if usual[-1] == 2**32 - 1:
        values %= 2**32  # Pillow shows unsigned values above 2**31 as negative ones.
    white = next((white for white in usual if values.max() <= white), None)
    if white is None or not values.min() >= 0:
        raise InputError(
            f"gray values from {values.min():g} to {values.max():g}; they must lie between 0 and {usual[-1]}"
        )
    return Image.fromarray((values * (255 / white) + 0.5).astype(np.uint8))


def _to_planes(pixels: np.ndarray) -> Tensor:
    """Channels first without moving a byte: strides stay those of channels last, which are cropped twice as fast."""
    return torch.from_numpy(pixels.reshape(*pixels.shape[:2], -1)).permute(2, 0, 1)
