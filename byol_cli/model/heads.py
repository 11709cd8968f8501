"""Projector and predictor: two-layer perceptrons (paper section 3.3; sizes 4096 and 256 there)."""

from collections import OrderedDict

from torch import nn


def projector(in_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """Features (batch, in_dim) -> projections (batch, output_dim); both networks have one."""
    return _perceptron(in_dim, hidden_dim, output_dim)


def predictor(in_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """Projections (batch, in_dim) -> predictions of the target's projections (batch, output_dim); online only."""
    return _perceptron(in_dim, hidden_dim, output_dim)


def _perceptron(in_dim: int, hidden_dim: int, output_dim: int) -> nn.Sequential:
    """The output has neither norm nor bias, as in DeepMind's code."""
    layers: dict[str, nn.Module] = {
        "hidden": nn.Linear(in_dim, hidden_dim),
        "norm": nn.BatchNorm1d(hidden_dim, eps=1e-5, momentum=0.1),
        "relu": nn.ReLU(inplace=True),
        "output": nn.Linear(hidden_dim, output_dim, bias=False),
    }
    return nn.Sequential(OrderedDict(layers))
