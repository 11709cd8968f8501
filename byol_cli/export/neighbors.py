"""The nearest images of each image by the cosine of their features: an exact search, block against block."""

import csv
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from byol_cli.export.every_image import EveryImage
from byol_cli.export.parts import Parts

ROWS = 4096

MANY_IMAGES = 200_000
"""From so many on, faiss searches where it is installed; on a GPU the blocks do as well."""


class Nearest(NamedTuple):
    """Of some images, numbered `places`, int64 (images,): their neighbours and their cosines, nearest first.

    `neighbors` is int64 (images, k) and `cosines` float32 (images, k).
    """

    places: np.ndarray
    neighbors: np.ndarray
    cosines: np.ndarray


@torch.no_grad()
def nearest_by_blocks(parts: Parts, *, neighbors: int, device: torch.device) -> Iterator[Nearest]:
    """Every image against every other; in memory are two parts and the cosines of ROWS images with ROWS others."""
    neighbors = min(neighbors, parts.rows - 1)
    for places, features in parts.blocks():
        queries, own = F.normalize(features.to(device), dim=1), torch.from_numpy(places).to(device)
        cosines = torch.full((len(places), neighbors), -torch.inf, device=device)
        found = torch.zeros(len(places), neighbors, dtype=torch.int64, device=device)
        for bank_places, bank in parts.blocks():
            others = torch.from_numpy(bank_places).to(device).split(ROWS)
            banks = F.normalize(bank.to(device), dim=1).split(ROWS)
            for start in range(0, len(places), ROWS):
                rows = slice(start, start + ROWS)
                for names, candidates in zip(others, banks, strict=True):
                    similar = queries[rows] @ candidates.T
                    similar.masked_fill_(own[rows, None] == names, -torch.inf)
                    best, columns = similar.topk(min(neighbors, len(names)), dim=1)
                    cosines[rows], kept = torch.cat([cosines[rows], best], dim=1).topk(neighbors, dim=1)
                    found[rows] = torch.cat([found[rows], names[columns]], dim=1).gather(1, kept)
        yield Nearest(places, found.cpu().numpy(), cosines.clamp(-1, 1).cpu().numpy())


def nearest_by_faiss(parts: Parts, *, neighbors: int) -> Iterator[Nearest]:
    """The same neighbours by faiss's flat index, which uses all cores and holds all features in memory."""
    import faiss

    neighbors = min(neighbors, parts.rows - 1)
    index = faiss.IndexFlatIP(parts.dim)
    for _, features in parts.blocks():
        index.add(F.normalize(features, dim=1).numpy())
    all_places = np.concatenate(list(parts.places()))
    for places, features in parts.blocks():
        cosines, rows = index.search(F.normalize(features, dim=1).numpy(), neighbors + 1)
        found = all_places[rows]
        # An image is among its own nearest, or as near as all of them are: it goes, or the last of them.
        others = np.argsort(found == places[:, None], axis=1, kind="stable")[:, :neighbors]
        yield Nearest(
            places, np.take_along_axis(found, others, axis=1), np.take_along_axis(cosines, others, axis=1).clip(-1, 1)
        )


def search(parts: Parts, *, neighbors: int, device: torch.device, say: Callable[[str], None]) -> Iterator[Nearest]:
    """The nearest images of each, by the faster way there is; `say` is told what would help where they are many."""
    if parts.rows < MANY_IMAGES or device.type != "cpu":
        return nearest_by_blocks(parts, neighbors=neighbors, device=device)
    if find_spec("faiss") is None:
        say(
            f"note: exact search among {parts.rows:,} images on the CPU takes long; a GPU (device=cuda) or faiss "
            "(pip install 'byol-cli[faiss]') is faster"
        )
        return nearest_by_blocks(parts, neighbors=neighbors, device=device)
    return nearest_by_faiss(parts, neighbors=neighbors)


def write_neighbors(path: Path, found: Iterator[Nearest], images: EveryImage) -> None:
    """A CSV file with the columns path, rank (from 1 on), neighbor (a path) and cosine."""
    with path.open("w", newline="", encoding="utf-8", errors="surrogateescape") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "rank", "neighbor", "cosine"])
        for places, neighbors, cosines in found:
            distinct, back = np.unique(neighbors, return_inverse=True)
            names = images.columns(distinct).paths
            rows = zip(images.columns(places).paths, back.reshape(neighbors.shape), cosines, strict=True)
            for name, columns, values in rows:
                for rank, (column, cosine) in enumerate(zip(columns, values, strict=True), start=1):
                    writer.writerow([name, rank, names[column], f"{cosine:.6f}"])
