"""What is told of weights that are not those of a network."""

import torch

from byol_cli.training.claimed_networks import differences_in_words
from byol_cli.training.claims import TensorClaim


def claims(*names: str, size: int = 3) -> dict[str, TensorClaim]:
    return {name: TensorClaim(torch.float32, (size,)) for name in names}


def test_missing_and_unexpected_names_are_two_lists_of_a_few() -> None:
    told = differences_in_words(claims("a", "y"), claims("a", "b", "c", "d", "e", "f"))
    assert told == "missing: b, c, d and 2 more; unexpected: y"
    assert differences_in_words(claims("a"), claims("a")) == ""


def test_weights_of_another_shape_are_told_with_both() -> None:
    told = differences_in_words(claims("a", "b"), claims("a") | claims("b", size=4))
    assert told == "of another form: b (torch.float32 of shape (3,) instead of torch.float32 of shape (4,))"
