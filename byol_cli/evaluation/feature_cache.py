"""Features kept in files, so that a backbone looks at the same images only once."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from byol_cli.data.sources import Subset
from byol_cli.evaluation.features import missing_rows

FEATURES = "features"
"""The folder that they are kept in, in that of the results; and their name in each file."""

SHARE_OF_ROOM = 0.1
"""What one file may take of the disk that is free."""


class FeatureCache:
    """Keeps the features of each part in a file of `folder`, named by a hash of all that they depend on.

    Weights are hashed as they are in memory: a checkpoint file may be replaced, by a run that goes on, while it is
    being measured.
    """

    def __init__(self, folder: Path, *, settings: Mapping[str, Any], say: Callable[[str], None]) -> None:
        """No file is touched yet.

        Args:
            folder: made when the first features are kept.
            settings: whatever features depend on besides weights and images (architecture, image size, precision,
                versions), as plain values.
            say: is told in one line what could not be read or kept.
        """
        self.folder, self.say = folder, say
        self._settings = json.dumps(settings, sort_keys=True)
        self._asked = self._reused = 0
        self._writes = True
        self._unread: set[tuple[str, int]] = set()

    def __call__(self, backbone: nn.Module, subset: Subset, extract: Callable[[], Tensor], *, what: str = "") -> Tensor:
        """The features `(images, dim)` of `subset`: from their file, else what `extract` returns, which is kept.

        They come back in the type that they were kept in, bit for bit. Those of a part in which an image could not be
        read are not taken where such an image is an error. `what` tells features of the same images apart: empty for
        those of their centres.
        """
        key = self._key(backbone, subset, what)
        path = self.folder / f"{key}.safetensors"
        self._asked += 1
        features = self._read(path, key) if path.is_file() else None
        if features is not None and self._takes(features, subset):
            self._reused += 1
            return features
        features = extract()
        if self._writes:
            self._write(path, key, features)
        return features

    def say_what_was_reused(self) -> None:
        """One line, or none where everything was extracted anew; and one of images that could not be read then."""
        if self._reused:
            self.say(f"features:      {self._reused} of {self._asked} parts from {self.folder}")
        if self._unread:
            self.say(
                f"warning: left out, as they could not be read when features were kept: {len(self._unread):,} images"
            )

    def _takes(self, features: Tensor, subset: Subset) -> bool:
        rows = missing_rows(features).nonzero().flatten().numpy()
        if not len(rows) or not subset.images.skips_bad:
            return not len(rows)
        places = subset.indices[rows * len(subset) // len(features)]  # of views there are two rows an image
        self._unread |= {(subset.images.fingerprint, int(place)) for place in places}
        return True

    def _key(self, backbone: nn.Module, subset: Subset, what: str) -> str:
        facts = [self._settings, weights_hash(backbone), subset.images.fingerprint, *([what] if what else [])]
        digest = hashlib.sha256("\n".join(facts).encode())
        digest.update(subset.indices.tobytes())
        return digest.hexdigest()

    def _read(self, path: Path, key: str) -> Tensor | None:
        try:
            with safe_open(path, framework="pt") as file:
                features, metadata = file.get_tensor(FEATURES), file.metadata()
        except (OSError, SafetensorError) as error:
            self.say(f"{path} cannot be read ({error}); these features are extracted anew")
            return None
        if metadata != _metadata(key, features):
            self.say(f"{path} is damaged; these features are extracted anew")
            return None
        return features

    def _write(self, path: Path, key: str, features: Tensor) -> None:
        """Whole or not at all."""
        draft = path.with_name(f"{path.name}.{os.getpid()}.writing")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if features.nbytes > SHARE_OF_ROOM * shutil.disk_usage(self.folder).free:
                self.say(f"features are not kept: {features.nbytes / 1e9:,.1f} GB are too much for {self.folder}")
                return
            try:
                save_file({FEATURES: features}, draft, metadata=_metadata(key, features))
                os.replace(draft, path)
            finally:
                draft.unlink(missing_ok=True)
        except (OSError, SafetensorError) as error:
            self._writes = False
            self.say(f"features are not kept: {self.folder} cannot be written to ({error})")


def weights_hash(network: nn.Module) -> str:
    """SHA-256 over names, types, shapes and values of all parameters and buffers, in hexadecimal."""
    digest = hashlib.sha256()
    for name, tensor in network.state_dict().items():
        digest.update(f"{name} ".encode())
        _update(digest, tensor)
    return digest.hexdigest()


def _metadata(key: str, features: Tensor) -> dict[str, str]:
    """Kept in the file: tells damaged features, and those of another key, from sound ones."""
    digest = hashlib.sha256(key.encode())
    _update(digest, features)
    return {"sha256": digest.hexdigest()}


def _update(digest: Any, tensor: Tensor) -> None:
    digest.update(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(tensor.detach().cpu().flatten().contiguous().view(torch.uint8).numpy().data)
