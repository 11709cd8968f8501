"""The skeleton of a checkpoint (data.pkl): its plain values, and what it claims of its tensors.

A pickle is a program. This reads the few instructions that torch.save writes: they make plain values, and instead of a
tensor a `TensorClaim`. Nothing is built, imported or called, whatever the pickle asks for.
"""

import pickle
import struct
from collections import OrderedDict
from collections.abc import Callable
from enum import Enum
from typing import Any

from byol_cli.schema.errors import InputError
from byol_cli.training.claims import STORAGE_TYPES, Claims, StorageClaim, TensorClaim

_MOST_OBJECTS = 2_000_000  # some 50,000 tensors; an empty container takes one byte of a pickle and 64 of memory
_LONGEST_NAME = 200
_ONCE = (dict, list, TensorClaim, StorageClaim)
_PROTOCOL = b"\x80\x02"


class _Callable(Enum):
    """What torch's own reader calls; here only a sign for it."""

    ORDERED_DICT = "collections OrderedDict"
    TENSOR = "torch._utils _rebuild_tensor_v2"


_NAMES: dict[str, Any] = {**STORAGE_TYPES, **{sign.value: sign for sign in _Callable}}


def read_skeleton(skeleton: bytes, claims: Claims) -> Any:
    """The values that the pickle `skeleton` describes, with a `TensorClaim` for every tensor.

    Containers are dict, OrderedDict, list and tuple, each in one place only; dict keys are text or whole numbers.

    Raises:
        InputError: it asks for anything else, or `claims` refuses a tensor.
    """
    try:
        return _Machine(skeleton, claims).run()
    except IndexError:  # of an empty stack
        raise InputError("its pickle is damaged") from None
    except UnicodeDecodeError:
        raise InputError("its pickle holds text that is not UTF-8") from None


class _Machine:
    """The stack machine of pickle, cut down to what is needed."""

    def __init__(self, skeleton: bytes, claims: Claims) -> None:
        self.skeleton, self.at, self.claims = skeleton, 0, claims
        self.stack: list[Any] = []
        self.below_marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.objects = 0

    def run(self) -> Any:
        if self.take(2) != _PROTOCOL:
            raise InputError("its pickle is of another protocol than torch.save writes")
        while (code := self.take(1)) != pickle.STOP:
            if code not in _OPERATIONS:
                raise InputError(f"its pickle holds an instruction {code!r}, which torch.save never writes")
            self.count(1)
            _OPERATIONS[code](self)
        return self.stack.pop()

    def take(self, length: int) -> bytes:
        self.at += length
        if length < 0 or self.at > len(self.skeleton):
            raise InputError("its pickle is cut off")
        return self.skeleton[self.at - length : self.at]

    def unpack(self, layout: str) -> Any:
        return struct.unpack(layout, self.take(struct.calcsize(layout)))[0]

    def count(self, objects: int) -> None:
        self.objects += objects
        if self.objects > _MOST_OBJECTS:
            raise InputError("its pickle holds more objects than any checkpoint")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def mark(self) -> None:
        self.below_marks.append(self.stack)
        self.stack = []

    def pop_to_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.below_marks.pop()
        return items

    def pop_tuple(self, length: int) -> None:
        if len(self.stack) < length:
            raise IndexError
        self.stack[len(self.stack) - length :] = [tuple(self.stack[len(self.stack) - length :])]

    def push_text(self) -> None:
        self.push(self.take(self.unpack("<I")).decode())

    def push_long(self) -> None:
        length = self.unpack("<B")
        if length > 8:
            raise InputError("its pickle holds a whole number of more than 64 bits")
        self.push(int.from_bytes(self.take(length), "little", signed=True))

    def remember(self, layout: str) -> None:
        self.memo[self.unpack(layout)] = self.stack[-1]

    def recall(self, layout: str) -> None:
        number = self.unpack(layout)
        if number not in self.memo:
            raise InputError("its pickle is damaged")
        value = self.memo[number]
        items = value if isinstance(value, tuple) else ()
        self.count(len(items))
        # A tree has no cycles, and is no larger when it is walked than when it is read.
        if isinstance(value, _ONCE) or any(isinstance(item, (tuple, *_ONCE)) for item in items):
            raise InputError("its pickle holds the same object in two places")
        self.push(value)

    def push_name(self) -> None:
        end = [self.skeleton.find(b"\n", self.at, self.at + _LONGEST_NAME)]
        end.append(self.skeleton.find(b"\n", end[0] + 1, end[0] + 1 + _LONGEST_NAME))
        if -1 in end:
            raise InputError("its pickle is damaged")
        module, name, _ = self.take(end[1] + 1 - self.at).decode().split("\n")
        if f"{module} {name}" not in _NAMES:
            raise InputError(f"its pickle asks for {module}.{name}, which is in no checkpoint and could run code")
        self.push(_NAMES[f"{module} {name}"])

    def append(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise InputError("its pickle is damaged")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        keys, values = items[::2], items[1::2]
        # Hashing a tuple of tuples of tuples would go as deep as it is.
        if not isinstance(self.stack[-1], dict) or len(keys) != len(values) or {*map(type, keys)} - {str, int}:
            raise InputError("its pickle is damaged, or holds a dict with keys that are no names")
        self.stack[-1].update(zip(keys, values, strict=True))

    def set_item(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    def set_attributes(self) -> None:
        """Only the version numbers that torch attaches to a state dict; they are left out."""
        attributes, owner = self.stack.pop(), self.stack[-1]
        versions = attributes.get("_metadata") if type(attributes) is dict and len(attributes) == 1 else None
        if not isinstance(owner, OrderedDict) or not isinstance(versions, dict):
            raise InputError("its pickle sets attributes that torch.save never writes")
        for entry in versions.values():
            if type(entry) is not dict or {*map(type, entry.values())} - {int}:
                raise InputError("its pickle sets attributes that torch.save never writes")

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if function is _Callable.ORDERED_DICT and arguments == ():
            self.push(OrderedDict())
        elif function is _Callable.TENSOR and type(arguments) is tuple:
            self.push(self.claims.tensor(arguments))
        else:
            raise InputError("its pickle calls what torch.save never calls")


_OPERATIONS: dict[bytes, Callable[[_Machine], None]] = {
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.BININT: lambda machine: machine.push(machine.unpack("<i")),
    pickle.BININT1: lambda machine: machine.push(machine.unpack("<B")),
    pickle.BININT2: lambda machine: machine.push(machine.unpack("<H")),
    pickle.LONG1: _Machine.push_long,
    pickle.BINFLOAT: lambda machine: machine.push(machine.unpack(">d")),
    pickle.BINUNICODE: _Machine.push_text,
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.MARK: _Machine.mark,
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.pop_to_mark())),
    pickle.TUPLE1: lambda machine: machine.pop_tuple(1),
    pickle.TUPLE2: lambda machine: machine.pop_tuple(2),
    pickle.TUPLE3: lambda machine: machine.pop_tuple(3),
    pickle.APPEND: lambda machine: machine.append([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.append(machine.pop_to_mark()),
    pickle.SETITEM: _Machine.set_item,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_to_mark()),
    pickle.BINPUT: lambda machine: machine.remember("<B"),
    pickle.LONG_BINPUT: lambda machine: machine.remember("<I"),
    pickle.BINGET: lambda machine: machine.recall("<B"),
    pickle.LONG_BINGET: lambda machine: machine.recall("<I"),
    pickle.GLOBAL: _Machine.push_name,
    pickle.REDUCE: _Machine.call,
    pickle.BUILD: _Machine.set_attributes,
    pickle.BINPERSID: lambda machine: machine.push(machine.claims.storage(machine.stack.pop())),
}
