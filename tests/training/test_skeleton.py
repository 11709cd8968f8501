"""A pickle is read as data: it imports nothing, calls nothing, and takes no more memory than it is long."""

import os
import pickle
import struct
import tracemalloc
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from byol_cli.schema.errors import InputError
from byol_cli.training import skeleton as module
from byol_cli.training.claims import Claims
from byol_cli.training.skeleton import read_skeleton

START = b"\x80\x02"
FLOATS = b"ctorch\nFloatStorage\n"
NUMBER = b"\x8a\x06" + (10**12).to_bytes(6, "little")


def read(skeleton: bytes) -> Any:
    return read_skeleton(skeleton, Claims({"0": 24}))


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.integers(0, 99), inner),
    max_leaves=20,
)


@given(plain)
@settings(max_examples=200, deadline=None)
def test_plain_values_come_out_as_pickle_would_load_them(values: Any) -> None:
    found = read(pickle.dumps(values, protocol=2))
    assert found == values
    assert repr(found) == repr(values)  # types, too


def test_a_tuple_comes_out_as_a_tuple() -> None:
    assert read(pickle.dumps([(), (1,), (1, "a"), (1, (2, 3), 4), (1, 2, 3, 4)], protocol=2))[3:] == [
        (1, (2, 3), 4),
        (1, 2, 3, 4),
    ]


def test_an_ordered_dict_with_the_versions_that_torch_attaches_is_read() -> None:
    state = OrderedDict(a=1)
    state._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    assert read(pickle.dumps(state, protocol=2)) == {"a": 1}


class Calls:
    """Pickles to a call."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("protocol", [2, 4])
def test_no_function_is_called_and_no_module_imported(protocol: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    for function, argument in [(os.mkdir, str(made)), (Path.touch, made), (exec, "import antigravity")]:
        with pytest.raises(InputError, match="asks for|another protocol"):
            read(pickle.dumps({"metrics": Calls(function, argument)}, protocol=protocol))
    assert not made.exists()


HOSTILE = {
    "another module": b"cbuiltins\neval\n",
    "a class of ours": b"cbyol_cli.schema.errors\nInputError\n",
    "a name of 1 MB": b"c" + b"a" * 2**20 + b"\nb\n",
    "a name that is not UTF-8": b"c\xff\n\xff\n",
    "a bytearray of a terabyte": b"cbuiltins\nbytearray\n" + NUMBER + b"\x85R",
    "a storage called": FLOATS + NUMBER + b"\x85R",
    "an ordered dict of something": b"ccollections\nOrderedDict\n]\x85R",
    "a number called": b"K\x01)R",
    "a tensor of nothing": b"ctorch._utils\n_rebuild_tensor_v2\n)R",
    "a tensor of a list": b"ctorch._utils\n_rebuild_tensor_v2\n]R",
    "a persistent id that is a list": b"]Q",
    "a new object": b"ccollections\nOrderedDict\n)\x81",
    "a class by instruction": b"(iposix\nsystem\n",
    "an extension": b"\x82\x01",
    "bytes of a terabyte": b"\x8e" + struct.pack("<Q", 2**40),
    "a bytearray of an exabyte": b"\x96" + struct.pack("<Q", 2**60),
    "a text of 4 GB": b"X\xff\xff\xff\xff",
    "a text that is not UTF-8": b"X\x01\x00\x00\x00\xff",
    "a number of 2 GB": b"\x8b\xff\xff\xff\x7f",
    "a number of 255 bytes": b"\x8a\xff" + b"\xff" * 255,
    "something from an empty stack": b"a",
    "something from below a mark": b"]K\x01(a",
    "a tuple from below a mark": b"K\x01(\x85",
    "a mark that is not there": b"e",
    "nothing at all": b"",
    "a memory that is empty": b"h\x05",
    "a list in itself": b"]q\x00h\x00a",
    "a dict in itself": b"}q\x00X\x01\x00\x00\x00ah\x00s",
    "a list twice": b"](]q\x00h\x00e",
    "tuples of tuples twice": b")q\x00\x85q\x01h\x01h\x01\x86",
    "an item for a tuple": b")K\x01a",
    "a key for a list": b"]K\x01K\x01s",
    "a key that is a tuple": b"})K\x01s",
    "a key that is a list": b"}]K\x01s",
    "a key that is true": b"}\x88K\x01s",
    "a key without a value": b"}(K\x01K\x01K\x02u",
    "attributes of a list": b"]}b",
    "a method replaced": b"ccollections\nOrderedDict\n)R}X\x05\x00\x00\x00itemsK\x01sb",
    "versions that are none": b"ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00_metadataK\x01sb",
    "versions of text": b"ccollections\nOrderedDict\n)R}X\x09\x00\x00\x00_metadata}X\x00\x00\x00\x00]ssb",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_pickle_is_refused(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(InputError):
        read(START + HOSTILE[name] + b".")
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


def test_a_memo_of_any_number_takes_one_place() -> None:
    assert read(START + b"}r\x00\x00\x00\x80.") == {}
    assert read(START + b"}r\xff\xff\xff\xff.") == {}


@pytest.mark.parametrize("instruction", [b"]", b"}", b"(", b")", b"K\x01"])
def test_more_objects_than_any_checkpoint_has_are_refused(instruction: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OBJECTS", 1000)
    with pytest.raises(InputError, match="more objects than any checkpoint"):
        read(START + instruction * 1001 + b".")


def test_a_large_tuple_that_is_recalled_again_and_again_counts_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_OBJECTS", 1000)
    with pytest.raises(InputError, match="more objects than any checkpoint"):
        read(START + b"](" + b"K\x01" * 400 + b"tq\x00" + b"h\x00" * 2 + b"e.")
