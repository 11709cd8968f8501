"""What every command has in common: compose, check, run under Hydra, one line for what goes wrong, an exit code.

The configuration is composed and checked before Hydra takes over, so that a wrong value makes no folder.
"""

import errno
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import byol_cli
from byol_cli.cli.compose import compose_config, load_config, one_line, parse_arguments
from byol_cli.schema.errors import Hopeless, InputError, TrainingFault
from byol_cli.schema.load import CONFIG_DIR
from byol_cli.training.ranks import is_first, let_first_speak, rank, world_size

T = TypeVar("T")

_NOT_PRINTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")  # line ends, and what a terminal obeys

DONE, BUG, REFUSED, FAULT, INTERRUPTED, KILLED = 0, 1, 2, 3, 75, 130


@dataclass(frozen=True)
class Outcome:
    """How a job ended: its exit code, the score that sweepers maximise, one line where it did not succeed."""

    exit_code: int
    score: float = float("nan")
    message: str = ""


class CommandLine:
    """The words typed after a command's name."""

    def __init__(
        self, argv: Sequence[str], *, config_name: str, complete: Callable[[Sequence[str]], list[str]] = list
    ) -> None:
        """`complete` adds the overrides that follow from those typed."""
        self._version = "--version" in argv
        self._arguments = parse_arguments([word for word in argv if word != "--version"])
        self.config_name = self._arguments.config_name or config_name
        self.words = complete(self._arguments.overrides)
        flags = [word for word in argv if word not in self._arguments.overrides]
        self.argv = [*flags, *self.words]
        self.multirun: bool = self._arguments.multirun

    @property
    def wants_information(self) -> bool:
        """Whether something is to be printed instead of run."""
        flags = self._arguments
        return self._version or any((flags.help, flags.hydra_help, flags.cfg, flags.info, flags.shell_completion))

    def print_information(self) -> int:
        """`--version`, or Hydra's own answers: --help, --cfg, --info, tab completion."""
        if self._version:
            print(f"byol-cli {byol_cli.__version__}")
            return DONE
        if self._arguments.cfg or self._arguments.info:
            self.compose(self.words)
        run_hydra(self.config_name, self.argv, lambda config: None)
        return DONE

    def compose(self, words: Sequence[str]) -> DictConfig:
        """What Hydra makes of the overrides `words`; raises InputError."""
        composed = compose_config(self.config_name, words, config_dir=self._arguments.config_dir)
        if composed.hydra.job.chdir:
            raise InputError(
                "hydra.job.chdir=true: paths would mean other files than where they were typed; leave it out"
            )
        return composed

    def load(self, schema: type[T], words: Sequence[str]) -> T:
        """Compose and check; raises InputError."""
        return self.check(schema, self.compose(words))

    @staticmethod
    def check(schema: type[T], composed: DictConfig) -> T:
        """Check what was composed; raises InputError."""
        return load_config(schema, composed)


def guarded(program: str, body: Callable[[], int]) -> int:
    """Run `body` and turn the ways of failing on purpose into one line on stderr and an exit code."""
    try:
        return body()
    except TrainingFault as error:
        return complain(program, Outcome(FAULT, message=str(error)))
    except (InputError, HydraException, OmegaConfBaseException) as error:
        let_first_speak()
        line = str(error) if isinstance(error, InputError) else one_line(error)
        return complain(program, Outcome(REFUSED, message=line)) if is_first() else REFUSED
    except OSError as error:
        return complain(program, too_long(error))
    except KeyboardInterrupt:
        return complain(program, Outcome(KILLED, message="interrupted"))


def too_long(error: OSError) -> Outcome:
    """A name that no file can have, wherever a command first meets it; any other error is raised again."""
    if error.errno != errno.ENAMETOOLONG:
        raise error
    return Outcome(REFUSED, message=f"{str(error.filename)[:80]}...: {error.strerror}")


def complain(program: str, outcome: Outcome) -> int:
    """Print why the job did not succeed; returns its exit code."""
    if outcome.message:
        who = program if is_first() else f"{program}: process {rank()} of {world_size()}"
        _print_beside(f"{who}: {outcome.message}")
    return outcome.exit_code


def say(*lines: str) -> None:
    """Print for the person at the terminal, at once; of several processes the first one speaks."""
    if is_first():
        print(*map(printable, lines), sep="\n", flush=True)


def warn(line: str) -> None:
    """Print beside the output."""
    if is_first():
        _print_beside(line)


def _print_beside(line: str) -> None:
    print(printable(line), file=sys.stderr, flush=True)


def printable(line: str) -> str:
    """One line, whatever a file that others made has put into it."""
    return _NOT_PRINTED.sub(" ", line)


def run_hydra(config_name: str, argv: Sequence[str], task: Callable[[DictConfig], Any]) -> None:
    """Hand over to Hydra, with its errors raised instead of printed in its own way."""
    os.environ["HYDRA_FULL_ERROR"] = "1"
    sys.argv[1:] = argv
    hydra.main(version_base="1.3", config_path=str(CONFIG_DIR), config_name=config_name)(task)()


def run_job(program: str, job: Callable[[], Outcome], *, contain_bugs: bool = False) -> Outcome:
    """Run one job; what it refuses or cannot go on with becomes its outcome, printed at once.

    `contain_bugs`: an unforeseen exception is printed with its traceback and ends this job alone, as in a sweep.
    """
    try:
        outcome = _outcome_of(job)
    except Exception as error:
        if not contain_bugs:
            raise
        traceback.print_exc()
        outcome = Outcome(BUG, message=f"{type(error).__name__}: {one_line(error)}")
    complain(program, outcome)
    return outcome


def _outcome_of(job: Callable[[], Outcome]) -> Outcome:
    try:
        return job()
    except InputError as error:
        return Outcome(REFUSED, message=str(error))
    except Hopeless as error:
        return Outcome(FAULT, score=error.score, message=str(error))
    except TrainingFault as error:
        return Outcome(FAULT, message=str(error))
    except OSError as error:
        return too_long(error)


def output_dir() -> Path:
    """The folder that Hydra made for this job."""
    return Path(HydraConfig.get().runtime.output_dir)
