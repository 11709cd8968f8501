"""Where and in which number format a run computes: device, precision, seed."""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from byol_cli.data.images import ArrayImages, ImageSet
from byol_cli.data.worker_count import available_cores, default_num_workers, workers_that_fit
from byol_cli.schema.errors import InputError
from byol_cli.training.ranks import local_rank, local_world_size, world_size

_AUTOCAST = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True)
class Runtime:
    """Device and precision as resolved from `auto`."""

    device: torch.device
    precision: str

    @property
    def on_gpu(self) -> bool:
        """Whether the networks leave the processor's cores free."""
        return self.device.type != "cpu"

    @property
    def on_cuda(self) -> bool:
        """Whether the device is an NVIDIA GPU."""
        return self.device.type == "cuda"

    @property
    def autocast_dtype(self) -> torch.dtype | None:
        """What matrix products are computed in; None for float32."""
        return _AUTOCAST[self.precision]

    def autocast(self) -> AbstractContextManager:
        """The forward pass runs in here; weights, losses and normalisation statistics stay float32."""
        dtype = self.autocast_dtype
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype is not None)

    def grad_scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, needed by fp16 alone; otherwise it passes everything through."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def num_workers(self, wanted: int | None, *, images: ImageSet, image_bytes: int, log: Callable[[str], None]) -> int:
        """Processes that read `images`: none for images in memory, else as many as are asked for and fit.

        Args:
            wanted: `num_workers` of the configuration.
            images: what is read.
            image_bytes: what an image takes when it is handed over.
            log: is told in one line where memory is short.
        """
        asked = 0 if isinstance(images, ArrayImages) else self.workers_asked_for(wanted)
        return workers_that_fit(asked, image_bytes=image_bytes, log=log)

    def workers_asked_for(self, wanted: int | None) -> int:
        """As many as `wanted`, or by this process's part of the processor's cores."""
        cores = max(1, available_cores() // local_world_size())
        return default_num_workers(cores, on_gpu=self.on_gpu) if wanted is None else wanted

    def __str__(self) -> str:
        if self.on_cuda:
            return f"{torch.cuda.get_device_name(self.device)}, {self.precision}"
        if self.device.type == "cpu":
            return f"cpu ({torch.get_num_threads()} threads), {self.precision}"
        return f"{self.device}, {self.precision}"


def resolve_runtime(
    *, device: str, precision: str, deterministic: bool = False, field: str = "trainer.device"
) -> Runtime:
    """`auto` takes CUDA, then Apple's MPS, then the CPU; bf16 where it is native, else fp32.

    `deterministic`: on CUDA, too, only kernels that give the same bits each time; torch warns of one that cannot.

    Raises:
        InputError: a device that this machine does not have; `field` is named in the message.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    wanted = torch.device(device)
    if wanted.type == "cuda" and world_size() > 1:
        wanted = own_gpu(wanted, field=field)
    if wanted.type == "cuda" and (wanted.index or 0) >= torch.cuda.device_count():
        raise InputError(f"{field}={device}: this machine has {torch.cuda.device_count()} CUDA devices")
    if wanted.type == "mps" and not torch.backends.mps.is_available():
        raise InputError(f"{field}={device}: this machine has no MPS device")
    if precision == "auto":
        precision = "bf16" if wanted.type == "cuda" or (wanted.type == "cpu" and _cpu_multiplies_bf16()) else "fp32"
    if wanted.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it before its first product
        torch.use_deterministic_algorithms(deterministic, warn_only=True)
        torch.backends.cudnn.deterministic = deterministic
    return Runtime(device=wanted, precision=precision)


def own_gpu(wanted: torch.device, *, field: str) -> torch.device:
    """One GPU for each process of the job.

    Raises:
        InputError: a certain GPU is named for all of them, or there are fewer than processes.
    """
    if wanted.index is not None:
        raise InputError(f"{field}={wanted} is one GPU for several processes; {field}=cuda gives each its own")
    if local_world_size() > torch.cuda.device_count():
        raise InputError(
            f"{local_world_size()} processes on this machine need a GPU each, and it has {torch.cuda.device_count()}; "
            f"{field}=cpu does without"
        )
    torch.cuda.set_device(local_rank())
    return torch.device("cuda", local_rank())


def _cpu_multiplies_bf16() -> bool:
    """Whether the processor has AVX-512 BF16 or AMX; a torch that cannot tell is taken for one without."""
    if not hasattr(torch.cpu, "get_capabilities"):
        return False
    capabilities = torch.cpu.get_capabilities()
    return any(capabilities.get(name, False) for name in ("avx512_bf16", "amx_bf16"))


def parameter_count(module: torch.nn.Module) -> int:
    """The number of values that training changes."""
    return sum(parameter.numel() for parameter in module.parameters())
