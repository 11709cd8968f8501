"""BatchNorm whose statistics are of the whole batch, however many processes share it (as in the paper, section 3.3)."""

from typing import Any, cast

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from byol_cli.schema.errors import InputError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


def synchronise(network: nn.Module, *, device: torch.device) -> None:
    """Replace each BatchNorm in `network` by one that takes its statistics over all processes; names stay.

    On CUDA it is PyTorch's own, which works there alone.

    Raises:
        InputError: a BatchNorm does something else besides.
    """
    for name, child in network.named_children():
        if type(child) in PLAIN:
            norm = cast(_BatchNorm, child)
            made = (
                nn.SyncBatchNorm.convert_sync_batchnorm(norm) if device.type == "cuda" else SyncBatchNormCpu.like(norm)
            )
            setattr(network, name, made)
        elif isinstance(child, _BatchNorm):
            raise InputError(
                f"trainer.sync_batchnorm=true: {type(child).__name__} of this backbone is not plain BatchNorm; "
                "trainer.sync_batchnorm=false lets each process take statistics of its own part of the batch"
            )
        else:
            synchronise(child, device=device)


class SyncBatchNormCpu(_BatchNorm):
    """BatchNorm over `(batch, channels, ...)` whose batch is spread over the processes in equal parts.

    In training: mean and variance are those of the whole batch, and gradients flow through both. In evaluation: as
    BatchNorm, and nothing is exchanged.
    """

    @classmethod
    def like(cls, norm: _BatchNorm) -> "SyncBatchNormCpu":
        """With the parameters, buffers and settings of `norm`."""
        made = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        made.weight, made.bias = norm.weight, norm.bias
        made.running_mean, made.running_var = norm.running_mean, norm.running_var
        made.num_batches_tracked = norm.num_batches_tracked
        made.training = norm.training
        return made

    def _check_input_dim(self, input: Tensor) -> None:
        if input.dim() < 2:
            raise ValueError(f"expected (batch, channels, ...), got {tuple(input.shape)}")

    def forward(self, input: Tensor) -> Tensor:
        """`(batch, channels, ...)` -> the same shape and type."""
        self._check_input_dim(input)
        if not (self.training and distributed.is_initialized()):
            return super().forward(input)
        dims = [0, *range(2, input.dim())]
        values = input.to(torch.promote_types(input.dtype, torch.float32))
        of_each = _OfAllRanks.apply(torch.stack(torch.var_mean(values, dims, correction=0)))  # (ranks, 2, channels)
        variances, means = of_each.unbind(dim=1)
        mean = means.mean(dim=0)
        variance = (variances + (means - mean).square()).mean(dim=0)
        self._follow(mean.detach(), variance.detach(), count=len(of_each) * input.numel() // input.shape[1])
        shape = [1, -1, *[1] * (input.dim() - 2)]
        normal = (values - mean.view(shape)) * (variance + self.eps).rsqrt().view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)

    def _follow(self, mean: Tensor, variance: Tensor, *, count: int) -> None:
        """Running statistics, with the variance's unbiased estimate, as BatchNorm keeps them."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance * count / max(count - 1, 1), share)


class _OfAllRanks(torch.autograd.Function):
    """A tensor of each process -> all of them, stacked; each gets the gradient that reached its own anywhere."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        own = own.contiguous()
        of_each = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(of_each, own)
        return torch.stack(of_each)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        gradient = gradient.clone()
        distributed.all_reduce(gradient)
        return gradient[distributed.get_rank()]
