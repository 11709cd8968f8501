"""What the bits of a run depend on besides its configuration: kept in checkpoints, compared when a run goes on."""

import platform
from pathlib import Path

import numpy
import torch
import torchvision

import byol_cli
from byol_cli.training.runtime import Runtime

_CPU_INFO = Path("/proc/cpuinfo")


def versions(runtime: Runtime) -> dict[str, str]:
    """Libraries, processor, intra-op threads, device and precision, each in words."""
    facts = {
        "byol_cli": byol_cli.__version__,
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "numpy": numpy.__version__,
        "python": platform.python_version(),
        "processor": f"{_processor_model()}, {torch.backends.cpu.get_cpu_capability()}",
        "threads": str(torch.get_num_threads()),
        "device": runtime.device.type,
        "precision": runtime.precision,
    }
    if runtime.on_cuda:
        facts["gpu"] = torch.cuda.get_device_name(runtime.device)
    return facts


def differences(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """In words, what of `versions` is not as it was."""
    names = [*before, *(name for name in now if name not in before)]
    return [
        f"{name} {before.get(name, 'none')} then, {now.get(name, 'none')} now"
        for name in names
        if before.get(name) != now.get(name)
    ]


def _processor_model() -> str:
    """Linux tells the model in a file alone."""
    if _CPU_INFO.is_file():
        for line in _CPU_INFO.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
