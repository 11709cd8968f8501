"""Kills a run at random moments until it is done all the same, and compares it with one that was left alone."""

import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.report import markdown
from tqdm import tqdm

from tortures.comparison import compare
from tortures.victims import Launch, Victim, python_process

OFTEN = ("trainer.checkpoint_every_steps=10", "trainer.log_every_steps=1")
EARLIEST, LATEST = 0.5, 3.0  # moments of a kill, in parts of the time to the first checkpoint
SHOWN = 20


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`kills` strikes by a signal (kill, term, int, usr1), `share_in_writes` of them inside a write."""

    kills: int
    share_in_writes: float
    signal_name: str
    seed: int

    @property
    def number(self) -> signal.Signals:
        """The signal."""
        return signal.Signals[f"SIG{self.signal_name.upper()}"]

    def in_writes(self) -> list[bool]:
        """Whether each is to come inside a write."""
        inside = round(self.kills * self.share_in_writes)
        order = [True] * inside + [False] * (self.kills - inside)
        random.Random(self.seed).shuffle(order)
        return order


@dataclass(kw_only=True)
class Tally:
    """What has happened so far; `faults` and `differing` must stay empty."""

    plan: Plan
    kills: int = 0
    in_writes: int = 0
    without_checkpoint: int = 0
    resumes: int = 0
    runs: int = 0
    compared: int = 0
    lost: list[int] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    differing_tensors: list[str] = field(default_factory=list)
    differing_values: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether no run shows that it was killed."""
        return not (self.faults or self.differing_tensors or self.differing_values)

    def table(self) -> str:
        """All figures in Markdown, and what is wrong, if anything is."""
        rows = {
            f"kills by {self.plan.number.name}": self.kills,
            "of them inside the write of a checkpoint": self.in_writes,
            "of them before the first checkpoint": self.without_checkpoint,
            "resumes": self.resumes,
            "steps lost, all kills together": sum(self.lost),
            "steps lost, most at one kill": max(self.lost, default=0),
            "runs that came to their end and were compared": self.runs,
            "tensors and values compared": self.compared,
            "tensors that differ": len(self.differing_tensors),
            "other values that differ": len(self.differing_values),
            "other faults": len(self.faults),
        }
        wrong = [*self.faults, *self.differing_tensors, *self.differing_values]
        more = [f"and {len(wrong) - SHOWN} more"] if len(wrong) > SHOWN else []
        table = markdown([["", "number"], *([name, f"{value:,}"] for name, value in rows.items())])
        return "\n".join([table, *(f"- {line}" for line in [*wrong[:SHOWN], *more])])


def torture(overrides: Sequence[str], folder: Path, *, plan: Plan, launch: Launch = python_process) -> Tally:
    """Run `byol-train OVERRIDES` undisturbed, then under kills until all of the plan's are spent.

    A run that comes to its end before that is compared, and the next one begins.

    Raises:
        ChildProcessError: a run failed, or was over before it could be killed once.
        InputError: nothing can go on from what a kill left.
    """
    words, rng = [*OFTEN, *overrides], random.Random(plan.seed)
    folder.mkdir(exist_ok=True)
    whole = Victim(folder / "whole", words, launch=launch)
    whole.start()
    startup = whole.seconds_to_first_checkpoint()
    whole.run_to_end()
    tally, in_writes = Tally(plan=plan), plan.in_writes()
    with tqdm(total=plan.kills, unit="kill") as bar:
        while in_writes:
            before = len(in_writes)
            victim = Victim(folder / f"killed_{tally.runs}", words, launch=launch)
            while not victim.is_done():
                tally.resumes += victim.start()
                if in_writes and strike(victim, tally, in_write=in_writes[-1], startup=startup, rng=rng):
                    in_writes.pop()
                    bar.update()
                elif not victim.is_done():  # else it was done just when it was to be killed
                    victim.run_to_end()
            if len(in_writes) == before:
                raise ChildProcessError("a run was over before it could be killed: make it longer, or write more often")
            take_stock(whole, victim, tally)
    return tally


def strike(victim: Victim, tally: Tally, *, in_write: bool, startup: float, rng: random.Random) -> bool:
    """End the started process at a moment to come; False where it came to its own end before that."""
    number = tally.plan.number
    recorded = victim.record()
    alive = victim.halt_in_write(rng) if in_write else victim.wait(startup * rng.uniform(EARLIEST, LATEST))
    if not alive:
        return False
    faults = victim.strike(number)
    if victim.is_done():
        return False
    tally.kills += 1
    inside = victim.is_writing()
    tally.in_writes += in_write or inside
    tally.faults += [f"kill {tally.kills}: {fault}" for fault in [*faults, *victim.unsound()]]
    step = victim.newest_step()
    tally.without_checkpoint += step is None
    if victim.record() != recorded:  # else it was still starting
        tally.lost.append(victim.recorded_step() - (step or 0))
    return True


def take_stock(whole: Victim, victim: Victim, tally: Tally) -> None:
    """Compare a run that has come to its end."""
    result = compare(whole.run_dir, victim.run_dir)
    tally.runs += 1
    tally.compared += result.compared
    tally.differing_tensors += [f"{victim.run_dir.name}: {name}" for name in result.tensors]
    tally.differing_values += [f"{victim.run_dir.name}: {name}" for name in result.values]
