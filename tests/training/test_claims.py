"""What is claimed of a tensor must fit the record that is there to fill it."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from byol_cli.schema.errors import InputError
from byol_cli.training.claims import STORAGE_TYPES, Claims, StorageClaim, TensorClaim

FLOATS = ("storage", torch.float32, "0", "cpu", 6)


def claimed(offset: Any, shape: Any, strides: Any, **changes: Any) -> TensorClaim:
    claims = Claims({"0": 24})
    arguments = {"storage": claims.storage(FLOATS), "requires_grad": False, "hooks": OrderedDict(), **changes}
    return claims.tensor((arguments["storage"], offset, shape, strides, arguments["requires_grad"], arguments["hooks"]))


def test_a_tensor_that_fills_its_record_is_taken_whatever_its_layout() -> None:
    assert claimed(0, (2, 3), (3, 1)) == TensorClaim(torch.float32, (2, 3))
    assert claimed(0, (2, 3), (1, 2)) == TensorClaim(torch.float32, (2, 3))
    assert claimed(5, (), ()) == TensorClaim(torch.float32, ())
    assert claimed(0, (0, 10**12), (1, 1)) == TensorClaim(torch.float32, (0, 10**12))


@pytest.mark.parametrize(
    ("offset", "shape", "strides"),
    [
        (0, (10**12,), (0,)),  # one number, said a million million times
        (0, (10**6, 10**6), (0, 0)),
        (0, (7,), (1,)),
        (1, (6,), (1,)),
        (0, (2, 3), (4, 1)),  # its last number lies outside
        (7, (0,), (1,)),
        (-1, (2,), (1,)),
        (0, (-2, -3), (3, 1)),
        (3, (2,), (-1,)),
        (0, (2, 3), (3,)),
        (0, (1,) * 17, (1,) * 17),
        (0, [2, 3], (3, 1)),
        (0, (2.0, 3), (3, 1)),
        (0, (True, 3), (3, 1)),
        ("0", (2, 3), (3, 1)),
        (None, (2, 3), (3, 1)),
    ],
)
def test_a_tensor_beyond_its_record_or_of_no_shape_is_refused(offset: Any, shape: Any, strides: Any) -> None:
    with pytest.raises(InputError):
        claimed(offset, shape, strides)


@pytest.mark.parametrize(
    "changes",
    [{"storage": FLOATS}, {"requires_grad": True}, {"requires_grad": 0}, {"hooks": {}}, {"hooks": OrderedDict(hook=1)}],
)
def test_a_tensor_that_is_described_otherwise_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="as torch.save never does"):
        claimed(0, (6,), (1,), **changes)


def test_all_tensors_together_claim_no_more_than_there_is() -> None:
    claims = Claims({"0": 24})
    whole: tuple[Any, ...] = (claims.storage(FLOATS), 0, (6,), (1,), False, OrderedDict())
    claims.tensor(whole)
    with pytest.raises(InputError, match="more than the file holds"):
        claims.tensor(whole)


@pytest.mark.parametrize(
    "identity",
    [
        ("storage", torch.float32, "1", "cpu", 6),  # no such record
        ("storage", torch.float32, "../0", "cpu", 6),
        ("storage", torch.float32, "0", "cpu", 10**12),
        ("storage", torch.float32, "0", "cpu", -6),
        ("storage", torch.float64, "0", "cpu", 6),
        ("storage", "torch FloatStorage", "0", "cpu", 6),
        ["storage", torch.float32, "0", "cpu", 6],
        ("module", torch.float32, "0", "cpu", 6),
        ("storage", torch.float32, 0, "cpu", 6),
        ("storage", torch.float32, "0", "cpu"),
        "0",
        None,
    ],
)
def test_a_record_that_is_not_there_or_of_another_size_is_refused(identity: Any) -> None:
    with pytest.raises(InputError):
        Claims({"0": 24}).storage(identity)


def test_a_record_has_one_type() -> None:
    claims = Claims({"0": 24})
    assert claims.storage(FLOATS) == claims.storage(FLOATS) == StorageClaim(torch.float32, 6)
    with pytest.raises(InputError, match="which holds others"):
        claims.storage(("storage", torch.int32, "0", "cpu", 6))


@pytest.mark.filterwarnings("ignore:TypedStorage is deprecated")
def test_the_types_are_those_that_torch_calls_so() -> None:
    for name, dtype in STORAGE_TYPES.items():
        module, storage_type = name.split(" ")
        assert module == "torch"
        assert getattr(torch, storage_type).dtype == dtype


@given(
    st.lists(st.integers(0, 4), max_size=4).flatmap(
        lambda shape: st.tuples(
            st.just(shape), st.lists(st.integers(0, 6), min_size=len(shape), max_size=len(shape)), st.integers(0, 20)
        )
    )
)
def test_whatever_is_taken_lies_within_the_record_as_torch_sees_it(case: tuple[list[int], list[int], int]) -> None:
    shape, strides, offset = case
    numbers = torch.arange(20.0)
    claims = Claims({"0": 80})
    storage = claims.storage(("storage", torch.float32, "0", "cpu", 20))
    try:
        claim = claims.tensor((storage, offset, tuple(shape), tuple(strides), False, OrderedDict()))
    except InputError:
        if torch.Size(shape).numel() <= 20:
            with pytest.raises(RuntimeError, match="out of bounds"):
                numbers.as_strided(shape, strides, offset)
        return
    assert numbers.as_strided(shape, strides, offset).shape == claim.shape
