"""Where memory is short, one line says which setting to change, and to what."""

import pytest
import torch

from byol_cli.cli.compose import compose_config, load_config
from byol_cli.schema.command import TrainConfig
from byol_cli.schema.errors import TrainingFault
from byol_cli.schema.trainer import TrainerConfig
from byol_cli.training.memory import memory_faults, remedy


def trainer(batch_size: int, parts: int) -> TrainerConfig:
    words = [f"trainer.batch_size={batch_size}", f"trainer.accumulation_steps={parts}"]
    return load_config(TrainConfig, compose_config("train", words)).trainer


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError()])
def test_an_allocation_that_fails_is_a_fault_with_a_remedy(error: Exception) -> None:
    message = r"out of memory: trainer\.accumulation_steps=2 splits the batch of 64 into parts of 32 \(now 64\)"
    with pytest.raises(TrainingFault, match=message), memory_faults(trainer(64, 1)):
        raise error


def test_torch_s_own_word_of_the_processor_s_memory_is_known() -> None:
    with pytest.raises(TrainingFault, match="out of memory"), memory_faults(trainer(64, 1)):
        torch.empty(2**60, dtype=torch.uint8)


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes"), memory_faults(trainer(64, 1)):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(("batch_size", "parts", "wanted"), [(64, 1, 2), (64, 8, 16), (9, 1, 3), (100, 2, 4)])
def test_the_next_number_of_parts_that_divides_the_batch_is_named(batch_size: int, parts: int, wanted: int) -> None:
    assert remedy(trainer(batch_size, parts)).startswith(f"trainer.accumulation_steps={wanted} ")
    trainer(batch_size, wanted)  # the configuration takes it


def test_where_none_is_left_something_else_is_named() -> None:
    assert "trainer.batch_size below 7" in remedy(trainer(7, 1))
