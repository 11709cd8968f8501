"""BatchNorm over all processes beside BatchNorm over the whole batch in each: raises where they differ."""

import torch
from torch import distributed, nn

from byol_cli.model.sync_batchnorm import SyncBatchNormCpu, synchronise
from byol_cli.training.ranks import joined, rank, world_size


def compare(plain: nn.Module, whole: torch.Tensor, *, type_: torch.dtype, tolerance: float) -> None:
    """Output, gradients and running statistics, after two batches."""
    network = nn.Sequential(nn.Identity(), plain)
    state = {name: value.clone() for name, value in network.state_dict().items()}
    reference = nn.Sequential(nn.Identity(), type(plain)(8, eps=plain.eps, momentum=plain.momentum).to(type_))
    reference.load_state_dict(state)
    synchronise(network, device=torch.device("cpu"))
    assert isinstance(network[1], SyncBatchNormCpu)
    assert network.state_dict().keys() == state.keys()
    weigh = torch.randn(whole.shape, dtype=type_)
    for batch in (whole, whole.flip(0) * 3 + 1):
        expected_in = batch.clone().requires_grad_()
        expected = reference(expected_in)
        (expected.sin() * weigh).sum().backward()
        own_in = batch.chunk(world_size())[rank()].clone().requires_grad_()
        own = network(own_in)
        (own.sin() * weigh.chunk(world_size())[rank()]).sum().backward()
        torch.testing.assert_close(own, expected.chunk(world_size())[rank()], rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(
            own_in.grad, expected_in.grad.chunk(world_size())[rank()], rtol=tolerance, atol=tolerance
        )
    for mine, theirs in zip(network.parameters(), reference.parameters(), strict=True):
        distributed.all_reduce(mine.grad)
        torch.testing.assert_close(mine.grad, theirs.grad, rtol=tolerance, atol=tolerance)
    for mine, theirs in zip(network.buffers(), reference.buffers(), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)
    network.eval()
    reference.eval()
    torch.testing.assert_close(network(whole), reference(whole), rtol=tolerance, atol=tolerance)


if __name__ == "__main__":
    with joined():
        torch.manual_seed(0)
        images = torch.randn(12, 8, 5, 3, dtype=torch.float64) * 4 + 2
        compare(nn.BatchNorm2d(8, eps=1e-5, momentum=0.1).double(), images, type_=torch.float64, tolerance=1e-11)
        compare(nn.BatchNorm1d(8, momentum=None).double(), images[..., 0, 0], type_=torch.float64, tolerance=1e-11)
        compare(nn.BatchNorm2d(8), images.float(), type_=torch.float32, tolerance=1e-4)
