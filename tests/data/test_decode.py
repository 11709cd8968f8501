import os
import struct
from io import BytesIO
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from byol_cli.data import decode as decode_module
from byol_cli.data.bad_images import BadImage
from byol_cli.data.decode import EXTENSIONS, count_channels, decode, read_file, to_channels
from byol_cli.schema.errors import InputError

COLOURS = np.random.default_rng(0).integers(0, 256, (9, 14, 3), dtype=np.uint8)
BLOCKS = np.kron(np.random.default_rng(1).integers(0, 256, (3, 4, 3), dtype=np.uint8), np.ones((16, 16, 1), np.uint8))


def own_channels(path: str) -> int:
    return count_channels(read_file(path), path=path)


def planes(picture: Image.Image, mode: str) -> np.ndarray:
    pixels = np.asarray(picture.convert(mode))
    return pixels[None] if mode == "L" else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "tiff", "ppm", "webp"])
@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_formats_come_out_exactly(tmp_path: Path, suffix: str, channels: int) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOURS).save(path, lossless=True)
    image = decode(str(path), channels)
    assert image.dtype == torch.uint8
    assert np.array_equal(image.numpy(), planes(Image.fromarray(COLOURS), "L" if channels == 1 else "RGB"))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
@pytest.mark.parametrize("suffix", ["png", "gif", "bmp", "tif"])
def test_gray_bilevel_and_palette_pictures_match_pillow(tmp_path: Path, mode: str, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(COLOURS).convert(mode).save(path)
    for channels, wanted in ((1, "L"), (3, "RGB")):
        assert np.array_equal(decode(str(path), channels).numpy(), planes(Image.open(path), wanted))


def test_pgm_is_gray(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).convert("L").save(tmp_path / "a.pgm")
    assert own_channels(str(tmp_path / "a.pgm")) == 1
    assert np.array_equal(decode(str(tmp_path / "a.pgm"), 1).numpy(), planes(Image.fromarray(COLOURS), "L"))


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (500, 3)])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_odd_sizes_keep_their_shape(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.full((*size, 3), 77, np.uint8)).save(path)
    image = decode(str(path), 3)
    assert image.shape == (3, *size)
    assert (image.int() - 77).abs().max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "tif"])
def test_exif_turns_the_picture_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = Image.Exif()
    exif[274] = orientation
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(BLOCKS).save(path, exif=exif)
    upright = ImageOps.exif_transpose(Image.open(path))
    image = decode(str(path), 3).numpy().astype(int)
    assert image.shape[1:] == ((48, 64) if orientation < 5 else (64, 48))
    assert np.abs(image - planes(upright, "RGB")).max() <= 3


def test_cmyk_jpeg_has_the_right_colours(tmp_path: Path) -> None:
    Image.fromarray(BLOCKS).convert("CMYK").save(tmp_path / "a.jpg", quality=100)
    image = decode(str(tmp_path / "a.jpg"), 3).numpy().astype(int)
    assert np.abs(image - BLOCKS.transpose(2, 0, 1)).mean() < 3


def test_gray_jpeg_is_gray_and_repeats_its_channel(tmp_path: Path) -> None:
    Image.fromarray(BLOCKS).convert("L").save(tmp_path / "a.jpg")
    assert own_channels(str(tmp_path / "a.jpg")) == 1
    three = decode(str(tmp_path / "a.jpg"), 3)
    assert torch.equal(three, decode(str(tmp_path / "a.jpg"), 1).expand(3, -1, -1))


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_sixteen_bits_scale_to_eight(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 257, 32896, 65535]], dtype=np.uint16)).save(path)
    assert own_channels(str(path)) == 1
    assert decode(str(path), 1).tolist() == [[[0, 1, 128, 255]]]
    assert decode(str(path), 3).tolist() == [[[0, 1, 128, 255]]] * 3


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    Image.fromarray(np.array([[0, 200]], dtype=np.uint16)).save(tmp_path / "a.png")
    assert decode(str(tmp_path / "a.png"), 1).tolist() == [[[0, 1]]]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 100, 255]], np.int32), [0, 100, 255]),
        (np.array([[0, 32896, 65535]], np.int32), [0, 128, 255]),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 64, 127]),
        (np.array([[0, 0.5, 1]], np.float32), [0, 128, 255]),
        (np.array([[0, 100.4, 255]], np.float32), [0, 100, 255]),
        (np.array([[0, 257, 65535]], np.float32), [0, 1, 255]),
    ],
)
def test_thirty_two_bits_scale_by_the_smallest_usual_white(
    tmp_path: Path, values: np.ndarray, expected: list[int]
) -> None:
    Image.fromarray(values).save(tmp_path / "a.tif")
    assert decode(str(tmp_path / "a.tif"), 1).tolist() == [[expected]]


@pytest.mark.parametrize("bad", [-1.0, 1e9, float("nan")])
def test_floats_outside_every_range_are_refused(tmp_path: Path, bad: float) -> None:
    Image.fromarray(np.array([[0.5, bad]], np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(InputError, match=r"a\.tif: gray values from .* between 0 and 65535"):
        decode(str(tmp_path / "a.tif"), 1)


def test_transparent_pixels_lie_on_white(tmp_path: Path) -> None:
    rgba = np.array([[[0, 0, 0, 0], [10, 20, 30, 255], [0, 0, 0, 128]]], np.uint8)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert decode(str(tmp_path / "a.png"), 3).permute(1, 2, 0).tolist() == [[[255] * 3, [10, 20, 30], [127] * 3]]
    Image.fromarray(rgba[..., 2:]).save(tmp_path / "b.png")
    assert own_channels(str(tmp_path / "b.png")) == 1
    assert decode(str(tmp_path / "b.png"), 1).tolist() == [[[255, 30, 127]]]
    palette = Image.fromarray(np.array([[0, 1]], np.uint8), mode=None).convert("P")
    palette.putpalette([9, 9, 9, 50, 60, 70])
    palette.save(tmp_path / "c.png", transparency=0)
    assert decode(str(tmp_path / "c.png"), 3).permute(1, 2, 0).tolist() == [[[255] * 3, [50, 60, 70]]]


def test_an_animation_gives_its_first_frame(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert decode(str(tmp_path / "a.gif"), 3)[:, 0, 0].tolist() == [255, 0, 0]


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_of_any_animation_the_first_frame_is_read(tmp_path: Path, suffix: str) -> None:
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue", "green")]
    frames[0].save(tmp_path / f"a.{suffix}", save_all=True, append_images=frames[1:], duration=40, lossless=True)
    assert Image.open(tmp_path / f"a.{suffix}").n_frames == 3  # type: ignore[attr-defined]
    image = decode(str(tmp_path / f"a.{suffix}"), 3)
    assert image.flatten(1).unique(dim=1).flatten().tolist() == [255, 0, 0]


def test_a_phones_multi_picture_file_is_a_jpeg(tmp_path: Path) -> None:
    pictures = [Image.fromarray(BLOCKS), Image.new("RGB", (64, 48), "blue")]
    pictures[0].save(tmp_path / "a.jpg", "MPO", save_all=True, append_images=pictures[1:], quality=95)
    assert np.abs(decode(str(tmp_path / "a.jpg"), 3).numpy().astype(int) - BLOCKS.transpose(2, 0, 1)).mean() < 6


def test_content_counts_not_the_extension(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "a.jpg")
    assert np.array_equal(decode(str(tmp_path / "a.jpg"), 3).numpy(), COLOURS.transpose(2, 0, 1))


@pytest.mark.parametrize("channels", [1, 2, 3, 5])
def test_arrays_of_any_channel_count_are_read(tmp_path: Path, channels: int) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 6, channels), dtype=np.uint8)
    np.save(tmp_path / "a.npy", values)
    assert own_channels(str(tmp_path / "a.npy")) == channels
    assert np.array_equal(decode(str(tmp_path / "a.npy"), channels).numpy(), values.transpose(2, 0, 1))


def test_a_flat_array_is_gray(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", COLOURS[..., 0])
    assert np.array_equal(decode(str(tmp_path / "a.npy"), 1).numpy(), COLOURS[None, ..., 0])


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (np.zeros((2, 2), np.float32), "float32 values of shape"),
        (np.zeros((2, 2, 2, 2), np.uint8), "uint8 values of shape"),
        (np.zeros((0, 2), np.uint8), "uint8 values of shape"),
        (np.array([{}]), "pickle"),
    ],
)
def test_other_arrays_are_refused(tmp_path: Path, values: np.ndarray, reason: str) -> None:
    np.save(tmp_path / "a.npy", values)
    with pytest.raises(InputError, match=rf"a\.npy: .*{reason}"):
        decode(str(tmp_path / "a.npy"), 1)


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp", "gif", "webp", "tif", "ppm", "npy"])
@pytest.mark.parametrize("keep", [0.0, 0.02, 0.5])
def test_a_truncated_file_is_refused_by_name_in_one_line(tmp_path: Path, suffix: str, keep: float) -> None:
    path = tmp_path / f"cut.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    if suffix == "npy":
        np.save(path, noise)
    else:
        Image.fromarray(noise).save(path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * keep)])
    with pytest.raises(InputError, match=rf"cut\.{suffix}: ") as refused:
        decode(str(path), 3)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["plain", "progressive", "restart", "gray", "CMYK"])
@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("tail", ["missing", "zeros"])
def test_no_cut_off_jpeg_passes_as_a_half_gray_image(
    tmp_path: Path, kind: str, fast: bool, tail: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it is cut, be it two bytes before its end: refused."""
    path = tmp_path / "cut.jpg"
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8))
    options = {"progressive": {"progressive": True}, "restart": {"restart_marker_blocks": 3}}.get(kind, {})
    noise.convert({"gray": "L", "CMYK": "CMYK"}.get(kind, "RGB")).save(path, **options)
    data = path.read_bytes()
    decode(str(path), 3)
    if not fast:
        monkeypatch.setattr(decode_module, "_decode_jpeg", None)
    for keep in [*range(3, len(data) - 10, len(data) // 20), *range(len(data) - 10, len(data) - 1)]:
        path.write_bytes(data[:keep] + b"\0" * (len(data) - keep if tail == "zeros" else 0))
        with pytest.raises(BadImage, match=r"cut\.jpg: "):
            decode(str(path), 3)


def test_what_follows_a_jpegs_end_does_not_matter(tmp_path: Path) -> None:
    """Phones append films, which may hold what looks like the beginning of another scan."""
    path = tmp_path / "a.jpg"
    Image.fromarray(BLOCKS).save(path)
    expected = decode(str(path), 3)
    path.write_bytes(path.read_bytes() + b"film\xff\xda" + bytes(1000))
    assert torch.equal(decode(str(path), 3), expected)


def test_a_thumbnails_end_is_not_the_images_end(tmp_path: Path) -> None:
    path, thumbnail = tmp_path / "a.jpg", BytesIO()
    Image.fromarray(BLOCKS).resize((16, 12)).save(thumbnail, "JPEG")
    inside = b"Exif\0\0" + thumbnail.getvalue()
    Image.fromarray(BLOCKS).convert("CMYK").save(path)
    data = path.read_bytes()
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(inside) + 2) + inside + data[2:]
    path.write_bytes(data)
    decode(str(path), 3)
    path.write_bytes(data[:-60] + bytes(60))
    with pytest.raises(BadImage, match="the end of its file is missing"):
        decode(str(path), 3)


@pytest.mark.parametrize("suffix", ["png", "gif", "webp", "tif"])
def test_no_cut_off_picture_comes_out_with_wrong_pixels(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cut.{suffix}"
    Image.fromarray(BLOCKS).save(path, lossless=True)
    data, whole = path.read_bytes(), decode(str(path), 3)
    for keep in range(0, len(data), max(1, len(data) // 50)):
        path.write_bytes(data[:keep])
        try:
            image = decode(str(path), 3)
        except BadImage:
            continue
        assert torch.equal(image, whole)  # only bytes that follow the pixels were missing


def test_a_dangling_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").symlink_to(tmp_path / "nowhere.jpg")
    with pytest.raises(BadImage, match=r"a\.jpg: .*No such file"):
        decode(str(tmp_path / "a.jpg"), 3)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    with pytest.raises(BadImage, match=r"a\.png: .*Permission denied"):
        decode(str(tmp_path / "a.png"), 3)


def test_an_array_that_claims_more_than_there_is_memory_for_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((9, 9), np.uint8))
    data = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(data.replace(b"(9, 9), }" + b" " * 14, b"(99999999, 99999999), }"))
    with pytest.raises(BadImage, match=r"a\.npy: "):
        decode(str(tmp_path / "a.npy"), 1)


def test_a_lack_of_memory_is_no_fault_of_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(*_: object, **__: object) -> None:
        raise MemoryError

    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    monkeypatch.setattr(decode_module, "_decode_picture", lacking)
    with pytest.raises(InputError, match=r"a\.png: there is not enough memory") as refused:
        decode(str(tmp_path / "a.png"), 3)
    assert not isinstance(refused.value, BadImage)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.png: .*No such file"):
        decode(str(tmp_path / "none.png"), 3)
    with pytest.raises(InputError, match="Is a directory"):
        decode(str(tmp_path), 3)


def test_a_decompression_bomb_is_refused(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.new("1", (8, 8)).save(buffer, "PNG")
    data = bytearray(buffer.getvalue())
    header = data.index(b"IHDR")
    for side in (10_000, 60_000):  # Pillow only warns of the first
        data[header + 4 : header + 12] = struct.pack(">II", side, side)
        data[header + 17 : header + 21] = struct.pack(">I", crc32(bytes(data[header : header + 17])))
        (tmp_path / "bomb.png").write_bytes(bytes(data))
        with pytest.raises(InputError, match=r"bomb\.png: .*decompression bomb"):
            decode(str(tmp_path / "bomb.png"), 3)


def test_programs_are_never_started_for_postscript(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="no image in a format that is read here"):
        decode(str(tmp_path / "a.jpg"), 3)


def test_a_picture_cannot_have_five_channels(tmp_path: Path) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: 3 channels cannot become 5"):
        decode(str(tmp_path / "a.png"), 5)


def test_conversions_are_pillows_for_one_image_and_for_a_batch() -> None:
    colours = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1500, 3, 5, 4), dtype=np.uint8))
    gray = to_channels(colours, 1)
    assert gray.shape == (1500, 1, 5, 4)
    for index in (0, 777, 1499):
        expected = planes(Image.fromarray(colours[index].permute(1, 2, 0).numpy()), "L")
        assert np.array_equal(gray[index].numpy(), expected)
        assert torch.equal(to_channels(colours[index], 1), gray[index])
    assert torch.equal(to_channels(gray, 3), gray.repeat(1, 3, 1, 1))
    assert to_channels(colours, 3) is colours


@pytest.mark.parametrize(("own", "wanted"), [(2, 3), (3, 2), (4, 1), (1, 4)])
def test_other_conversions_are_refused(own: int, wanted: int) -> None:
    with pytest.raises(InputError, match=f"{own} channels cannot become {wanted}"):
        to_channels(torch.zeros(own, 2, 2, dtype=torch.uint8), wanted)


def test_extensions_are_lower_case_with_a_dot() -> None:
    assert all(extension == extension.lower() and extension.startswith(".") for extension in EXTENSIONS)


JPEG_KINDS = {
    "plain": {},
    "fine colour": {"subsampling": 0},
    "progressive": {"progressive": True},
    "poor": {"quality": 5},
    "gray": {},
    "turned": {"exif": Image.Exif()},
}
JPEG_KINDS["turned"]["exif"][0x0112] = 6


@pytest.mark.parametrize("kind", JPEG_KINDS)
@pytest.mark.parametrize("channels", [1, 3])
def test_both_ways_of_decoding_a_jpeg_give_the_same_pixels(
    tmp_path: Path, kind: str, channels: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(BLOCKS).convert("L" if kind == "gray" else "RGB").save(path, **JPEG_KINDS[kind])
    assert decode_module._is_plain_jpeg(bytearray(path.read_bytes()))
    fast = decode(str(path), channels)
    monkeypatch.setattr(decode_module, "_decode_jpeg", None)  # as in a torchvision without decoders
    assert torch.equal(fast, decode(str(path), channels))


def test_a_jpeg_of_four_inks_and_what_is_no_jpeg_are_left_to_pillow(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(BLOCKS).convert("CMYK").save(path)
    whole = bytearray(path.read_bytes())
    assert not decode_module._is_plain_jpeg(whole)
    Image.fromarray(BLOCKS).save(path)
    whole = bytearray(path.read_bytes())
    for damaged in (whole[:2], whole[:30], b"PNG" + whole, whole[:3] + b"\x00" * 40, bytearray()):
        assert not decode_module._is_plain_jpeg(bytearray(damaged))


def test_a_jpeg_that_claims_billions_of_pixels_is_refused_before_memory_is_taken(tmp_path: Path) -> None:
    path = tmp_path / "bomb.jpg"
    Image.fromarray(BLOCKS).save(path)
    data = bytearray(path.read_bytes())
    frame = data.index(b"\xff\xc0")
    data[frame + 5 : frame + 9] = struct.pack(">HH", 65000, 65000)
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"bomb\.jpg: "):
        decode(str(path), 3)
