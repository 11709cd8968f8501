"""Out of memory: one line that says which setting to change, and to what."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from byol_cli.schema.errors import TrainingFault
from byol_cli.schema.trainer import TrainerConfig

# torch's words where memory is short and there is no exception class for it.
_MESSAGES = (
    "DefaultCPUAllocator: can't allocate memory",
    "DefaultCPUAllocator: not enough memory",
    "CUDA error: out of memory",
    "MPS backend out of memory",
    "_STATUS_ALLOC_FAILED",
)


@contextmanager
def memory_faults(trainer: TrainerConfig) -> Iterator[None]:
    """An allocation that fails in here becomes a TrainingFault."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise TrainingFault(f"out of memory: {remedy(trainer)}") from error


def is_out_of_memory(error: Exception) -> bool:
    """Whether an allocation failed, in memory or on a device."""
    by_class = isinstance(error, (MemoryError, torch.OutOfMemoryError))
    return by_class or (isinstance(error, RuntimeError) and any(message in str(error) for message in _MESSAGES))


def remedy(trainer: TrainerConfig) -> str:
    """What needs less: the next larger number of parts that the batch can be split into, or else smaller images."""
    batch = trainer.batch_size
    graphs = "trainer.compile_mode=default and " if trainer.compile and trainer.compile_mode != "default" else ""
    for parts in range(trainer.accumulation_steps + 1, batch // 2 + 1):
        if batch % parts == 0:
            return (
                f"{graphs}trainer.accumulation_steps={parts} splits the batch of {batch} into parts of "
                f"{batch // parts} (now {batch // trainer.accumulation_steps}), which BatchNorm then sees one at a "
                "time; a run that goes on takes it with resume_force=true"
            )
    return f"trainer.batch_size below {batch}, a smaller backbone or a smaller augmentation.image_size needs less"
