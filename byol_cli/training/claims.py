"""What a checkpoint claims of its tensors, held against the records that are there to fill them."""

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from byol_cli.schema.errors import InputError

_MOST_DIMENSIONS = 16

STORAGE_TYPES = {
    "torch FloatStorage": torch.float32,
    "torch DoubleStorage": torch.float64,
    "torch HalfStorage": torch.float16,
    "torch BFloat16Storage": torch.bfloat16,
    "torch ComplexFloatStorage": torch.complex64,
    "torch ComplexDoubleStorage": torch.complex128,
    "torch LongStorage": torch.int64,
    "torch IntStorage": torch.int32,
    "torch ShortStorage": torch.int16,
    "torch CharStorage": torch.int8,
    "torch ByteStorage": torch.uint8,
    "torch BoolStorage": torch.bool,
}


@dataclass(frozen=True)
class StorageClaim:
    """A record that holds `count` numbers; a pickle names its type as in STORAGE_TYPES."""

    dtype: torch.dtype
    count: int


@dataclass(frozen=True)
class TensorClaim:
    """A tensor that lies within its storage and is no larger."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class Claims:
    """Of one file; all its tensors together claim no more than it holds."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """`sizes`: bytes of each record of numbers, by the name that the pickle calls it."""
        self._sizes, self._unclaimed = sizes, sum(sizes.values())
        self._storages: dict[str, StorageClaim] = {}

    def storage(self, identity: Any) -> StorageClaim:
        """What torch.save calls `("storage", type, name of the record, device, count)`; raises InputError."""
        match identity:
            case ("storage", torch.dtype() as dtype, str(name), str(), int(count)) if (
                type(identity) is tuple and type(count) is int and name in self._sizes
            ):
                claim = StorageClaim(dtype, count)
            case _:
                raise InputError("its pickle names numbers that are not in the file")
        if count * dtype.itemsize != self._sizes[name] or self._storages.setdefault(name, claim) != claim:
            raise InputError(f"its pickle claims {count} numbers of {dtype} in data/{name}, which holds others")
        return claim

    def tensor(self, arguments: Any) -> TensorClaim:
        """What torch.save describes as `(storage, offset, shape, strides, requires_grad, hooks)`; raises InputError."""
        match arguments:
            case (StorageClaim() as storage, offset, tuple(shape), tuple(strides), False, OrderedDict() as hooks) if (
                not hooks
                and len(shape) == len(strides) <= _MOST_DIMENSIONS
                and all(type(number) is int and number >= 0 for number in (offset, *shape, *strides))
            ):
                count = math.prod(shape)
            case _:
                raise InputError("its pickle describes a tensor as torch.save never does")
        reach = 1 + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True)) if count else 0
        self._unclaimed -= count * storage.dtype.itemsize
        if count > storage.count or offset + reach > storage.count or self._unclaimed < 0:
            raise InputError(f"its pickle claims a tensor of shape {shape}, which is more than the file holds")
        return TensorClaim(storage.dtype, shape)
