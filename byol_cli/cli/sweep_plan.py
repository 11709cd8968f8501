"""The jobs of `byol-train -m`, laid out before the first begins."""

from collections.abc import Mapping, Sequence

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.types import IntervalSweep, Override

from byol_cli.cli.compose import parse_overrides
from byol_cli.cli.job_folder import WATCHING, job_name, key_of
from byol_cli.schema.errors import InputError


def refuse_sweep(words: Sequence[str]) -> None:
    """Refuse several values outside a sweep; raises InputError."""
    for override in parse_overrides(words):
        if override.is_sweep_override():
            raise InputError(
                f"{override.input_line}: several values make a sweep, add -m; a list is written in brackets"
            )


def fixed_words(words: Sequence[str]) -> list[str]:
    """Those of `words` that are the same in every job."""
    return [override.input_line or "" for override in parse_overrides(words) if not override.is_sweep_override()]


class SweepPlan:
    """What is swept, and where every combination is run, all jobs by their folders' names.

    A sweeper that draws its values chooses its jobs as it goes; then `jobs` is empty, and each is checked as it comes.
    """

    def __init__(self, words: Sequence[str], *, params: Mapping[str, object], draws: bool) -> None:
        """Lay out all combinations.

        Args:
            words: as typed.
            params: `hydra.sweeper.params`, which stand before the words.
            draws: by a sweeper other than Hydra's basic one.

        Raises:
            InputError: nothing is swept, or something that cannot be.
        """
        if any(key_of(word) == "hydra.sweep.subdir" for word in words):
            raise InputError("hydra.sweep.subdir: a job's folder is named by its overrides; leave it out")
        overrides = parse_overrides([*(f"{key}={value}" for key, value in params.items()), *words])
        self.draws = draws
        self._swept = [override for override in overrides if override.is_sweep_override()]
        for override in self._swept:
            self._refuse_what_cannot_be_swept(override)
        if not self._swept and not draws:
            raise InputError("-m needs a setting with several values, such as optimizer.lr=0.1,0.2")
        self._task = [override for override in overrides if not _is_hydras(override.key_or_group)]
        self.jobs: dict[str, list[str]] = {}
        if not draws:
            self.jobs = {job_name(job): job for job in BasicSweeper.split_arguments(self._task, None)[0]}

    def to_check(self) -> list[list[str]]:
        """The overrides of every job; where they are drawn, those of one that may be."""
        if not self.draws:
            return list(self.jobs.values())
        return [[_first(override) for override in self._task]]

    def changes(self, words: Sequence[str]) -> str:
        """Those of a job's overrides that are swept."""
        settings = {override.key_or_group for override in self._swept}
        return " ".join(word for word in words if key_of(word) in settings)

    def _refuse_what_cannot_be_swept(self, override: Override) -> None:
        line = override.input_line
        if _is_hydras(override.key_or_group):
            raise InputError(f"{line}: Hydra's own settings cannot be swept; a list is written in brackets")
        if override.key_or_group in WATCHING:
            raise InputError(f"{line}: this makes no other job, and cannot be swept")
        if not self.draws and not override.is_discrete_sweep():
            raise InputError(f"{line}: values are drawn from an interval by hydra/sweeper=optuna")


def _is_hydras(key: str) -> bool:
    return key.startswith(("hydra.", "hydra/"))


def _first(override: Override) -> str:
    value = override.value()
    if isinstance(value, IntervalSweep):
        return f"{override.get_key_element()}={value.start}"
    if override.is_sweep_override():
        return f"{override.get_key_element()}={next(iter(override.sweep_string_iterator()))}"
    return override.input_line or ""
