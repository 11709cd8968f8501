"""How a training scales over processes: measured here, or estimated for many GPUs.

python scripts/scaling.py measure [--processes 2] [--rounds 5]
    images a second of the training loop in 1 process and in several, on one thread each, in alternating rounds;
    beside as many processes that do not talk to each other, which shows the share of communication

python scripts/scaling.py estimate --step-seconds 0.25 --images 128 [--gpus 8,64,512] [--gradient-mb 140]
    images a second from the step of one GPU on its part of the batch, the bytes of its gradients, and link rates
"""

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from byol_cli.cli.command import DONE, guarded
from byol_cli.optim.schedules import scaled_learning_rate, scaled_tau
from byol_cli.schema.errors import InputError

PROGRAM = "scaling.py"
WORDS = (
    "dataset=synthetic dataset.image_size=32 augmentation=byol_32 backbone=resnet18 head=small optimizer=lars "
    "trainer.device=cpu trainer.precision=fp32 trainer.steps=1000000"
).split()
BATCH, STEPS = 64, 10
# One direction, bytes a second for each GPU: NVLink 4 of an H100 (900 GB/s both ways) and InfiniBand NDR (400 Gb/s).
INSIDE, BETWEEN = 450e9, 50e9
GPUS_A_MACHINE = 8
# Assumed for a small exchange among all, in seconds: synchronised BatchNorm waits for one in each layer and direction.
LATENCY_INSIDE, LATENCY_BETWEEN = 20e-6, 40e-6
EXCHANGES_A_LAYER = 6  # two views: forward in both networks, backward in one
HIDDEN = 0.5  # share of a step, the later part of its backward pass, beside which gradients can be sent


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("--processes", type=int, default=2)
    measuring.add_argument("--rounds", type=int, default=5)
    measuring.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    estimating = commands.add_parser("estimate")
    estimating.add_argument("--step-seconds", type=float, required=True, help="of one GPU, as trainer.plan=true prints")
    estimating.add_argument("--images", type=int, required=True, help="a GPU and step")
    estimating.add_argument("--gpus", default="8,64,512")
    estimating.add_argument("--gradient-mb", type=float, default=140.3, help="ResNet-50 with BYOL's heads: 140.3")
    estimating.add_argument("--norms", type=int, default=55, help="BatchNorm layers; ResNet-50 with BYOL's heads: 55")
    estimating.add_argument("--compression", type=float, default=1.0, help="2 for gradient_compression=bf16")
    words = parser.parse_args(argv)
    if words.command == "estimate":
        print_estimate(words)
    elif words.worker:
        work(words.rounds)
    else:
        print_measured(words.processes, words.rounds)
    return DONE


def print_measured(processes: int, rounds: int) -> None:
    """A table in Markdown: the median of all rounds, and ratios paired round by round."""
    if processes < 2:
        raise InputError(f"--processes={processes} must be at least 2")
    contenders = {
        "1 process": Team(1, BATCH),
        f"{processes} processes, one training": Team(processes, BATCH),
        "the same, BatchNorm not synchronised": Team(processes, BATCH, "trainer.sync_batchnorm=false"),
        "the same, gradients sent as bf16": Team(processes, BATCH, "trainer.gradient_compression=bf16"),
        f"{processes} trainings that do not talk": Team(processes, BATCH // processes, apart=True),
    }
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    try:
        for number in range(rounds + 1):
            for name, team in contenders.items():
                rate = team.round()
                if number:
                    rates[name].append(rate)
    finally:
        for team in contenders.values():
            team.end()
    alone, *_, free = rates.values()
    print(f"ResNet-18, 32 px, batch {BATCH} of all processes together, one thread each, {os.cpu_count()} cores\n")
    print("| | images/s | times 1 process | share of communication |\n| --- | --- | --- | --- |")
    for name, found in rates.items():
        speedup = statistics.median(a / b for a, b in zip(found, alone, strict=True))
        share = statistics.median(1 - a / b for a, b in zip(found, free, strict=True))
        told = f"{share:.0%}" if "processes" in name or "same" in name else ""
        print(f"| {name} | {statistics.median(found):,.0f} | {speedup:.2f} | {told} |")


class Team:
    """Processes at work together, each for a round when it is told to."""

    def __init__(self, processes: int, batch: int, *words: str, apart: bool = False) -> None:
        """`apart`: each trains by itself."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        self.images = batch * STEPS * (processes if apart else 1)
        self.members = []
        for rank in range(processes):
            environment = {
                **os.environ,
                "OMP_NUM_THREADS": "1",
                "SCALING_WORDS": " ".join([*words, f"trainer.batch_size={batch}"]),
            }
            if not apart and processes > 1:
                numbers = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
                environment |= {name: str(value) for name, value in numbers.items()}
                environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
            self.members.append(
                subprocess.Popen(
                    [sys.executable, __file__, "measure", "--worker"],
                    env=environment,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )

    def round(self) -> float:
        """Images a second of all."""
        for member in self.members:
            assert member.stdin
            member.stdin.write("go\n")
            member.stdin.flush()
        seconds = []
        for member in self.members:
            assert member.stdout
            line = member.stdout.readline()
            if not line:
                raise ChildProcessError("a process has failed; it has printed why")
            seconds.append(float(line))
        return self.images / max(seconds)

    def end(self) -> None:
        """Have all end."""
        for member in self.members:
            member.kill()
            member.wait()


def work(rounds: int) -> None:
    """Rounds of steps of the training loop on views that lie ready, each when a line comes in."""
    import itertools

    import torch

    from byol_cli.cli.compose import compose_config, load_config
    from byol_cli.cli.presets import with_preset
    from byol_cli.schema.command import TrainConfig
    from byol_cli.training.loop import train
    from byol_cli.training.nonfinite import NonfiniteGuard
    from byol_cli.training.ranks import joined
    from byol_cli.training.setup import prepare

    chosen = os.environ["SCALING_WORDS"].split()
    config = load_config(TrainConfig, compose_config("train", with_preset([*WORDS, *chosen])))
    with joined():
        run = prepare(config, say=lambda line: None)
        view1, view2 = (torch.randn(run.micro_batch_size, 3, 32, 32) for _ in range(2))
        steps = itertools.count(1)
        began = time.perf_counter()

        def after_step(loss: torch.Tensor, norm: torch.Tensor) -> bool:
            nonlocal began
            if next(steps) % STEPS == 0:
                print(time.perf_counter() - began, flush=True)
                if not sys.stdin.readline():
                    return False
                began = time.perf_counter()
            return True

        sys.stdin.readline()
        train(
            run.state,
            itertools.repeat((view1, view2)),
            plan=run.plan,
            runtime=run.runtime,
            loss=run.loss,
            guard=NonfiniteGuard(run.state, skips=False, device=run.runtime.device),
            after_step=after_step,
        )


def print_estimate(words: argparse.Namespace) -> None:
    """A table in Markdown."""
    gradient = words.gradient_mb * 1e6 / words.compression
    inside, between = 1e6 * LATENCY_INSIDE, 1e6 * LATENCY_BETWEEN
    print(f"{words.images} images a GPU in {words.step_seconds:g} s, {gradient / 1e6:,.1f} MB of gradients a step;")
    print(f"{INSIDE / 1e9:g} GB/s between GPUs of a machine, {BETWEEN / 1e9:g} GB/s for each GPU between machines;")
    print(f"an exchange of BatchNorm {inside:g} us, between machines {between:g} us (assumed)\n")
    heads = ["GPUs", "batch", "gradients", "not hidden", "BatchNorm", "images/s", "efficiency"]
    row([*heads, "lr at base 0.2", "tau, 0.996 at 4096"])
    row(["---"] * (len(heads) + 2))
    for gpus in map(int, words.gpus.split(",")):
        sending = seconds_to_send(gradient, gpus)
        seen = max(0.0, sending - HIDDEN * words.step_seconds)
        norms = words.norms * EXCHANGES_A_LAYER * (LATENCY_BETWEEN if gpus > GPUS_A_MACHINE else LATENCY_INSIDE)
        step, batch = words.step_seconds + seen + norms, gpus * words.images
        row(
            [
                str(gpus),
                f"{batch:,}",
                *(f"{1e3 * seconds:.2f} ms" for seconds in (sending, seen, norms)),
                f"{batch / step:,.0f}",
                f"{words.step_seconds / step:.0%}",
                f"{scaled_learning_rate(0.2, batch_size=batch, scale='linear'):.3g}",
                f"{scaled_tau(0.996, batch_size=batch, reference_batch_size=4096):.6f}",
            ]
        )


def row(cells: Sequence[str]) -> None:
    """Of a table in Markdown."""
    print(f"| {' | '.join(cells)} |")


def seconds_to_send(count: float, gpus: int) -> float:
    """A ring all-reduce of `count` bytes: inside the machines, then between them, each GPU with its own part."""
    inside = min(gpus, GPUS_A_MACHINE)
    machines = -(-gpus // GPUS_A_MACHINE)
    seconds = 2 * (inside - 1) / inside * count / INSIDE
    return seconds + 2 * (machines - 1) / machines * count / inside / BETWEEN


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
