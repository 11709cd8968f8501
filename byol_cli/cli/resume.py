"""`resume=`: a run's stored configuration, what may be changed in it, and which run `resume=auto` means.

Torch is not needed here.
"""

import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.types import Override

from byol_cli.cli.compose import GROUPS, parse_overrides
from byol_cli.cli.folders import holds_run, summary_if_done
from byol_cli.data.imagenet_archives import refuse_to_unpack
from byol_cli.schema.command import OPTIONS, TrainConfig
from byol_cli.schema.dataset import FilesConfig, TorchvisionConfig
from byol_cli.schema.errors import InputError
from byol_cli.schema.evaluation import EvaluationConfig
from byol_cli.schema.load import CONFIG_DIR, load, plain, quoted, show
from byol_cli.schema.model import CustomConfig
from byol_cli.schema.stored import load_stored
from byol_cli.training.ranks import local_world_size, world_size

AUTO = "auto"

# What leaves the run's course alone. Where the images lie is no matter: they are compared by their fingerprint. What
# trainer.precision comes to is compared when the device is known.
HARMLESS_GROUP = "evaluation"
HARMLESS = frozenset(
    "name resume resume_force trainer.device trainer.precision trainer.num_workers "
    "trainer.worker_timeout_seconds trainer.log_every_steps trainer.gauges_every_steps "
    "trainer.probe_every_epochs trainer.probe_max_images trainer.probe_neighbors trainer.probe_temperature "
    "trainer.checkpoint_every_steps trainer.checkpoint_every_minutes trainer.keep_last trainer.keep_every "
    "trainer.max_failed_saves trainer.on_collapse trainer.on_nonfinite trainer.max_nonfinite "
    "trainer.compare_ranks_every_steps dataset.root "
    "dataset.file_list dataset.test_root dataset.labels_csv dataset.download dataset.cache dataset.cache_dir "
    "dataset.on_bad_image dataset.max_bad_images".split()
)
FACTORY, CACHE_DIR, ROOT = "backbone.factory", "dataset.cache_dir", "dataset.root"
SHOWN = 4  # differences that a message names


def requested_run(words: Sequence[str]) -> str | None:
    """What `resume=` says: a run folder, "auto" or nothing. A folder may be called what reads as a number."""
    return _said_folder(words, "resume")


def refuse_another_folder(words: Sequence[str], run_dir: Path) -> None:
    """A run goes on in its own folder; raises InputError where `words` name another one."""
    said = _said_folder(words, "hydra.run.dir")
    if said is not None and Path(said).absolute() != run_dir.absolute():
        raise InputError(f"hydra.run.dir={said}: resume={run_dir} goes on in the run's own folder; leave it out")


def _said_folder(words: Sequence[str], key: str) -> str | None:
    said = [override for override in parse_overrides(words) if override.key_or_group == key]
    value = said[-1].value() if said else None
    return value if value is None or isinstance(value, str) else (said[-1].input_line or "").partition("=")[2]


def is_forced(words: Sequence[str]) -> bool:
    """Whether `resume_force=true` is said; raises InputError for anything but true or false."""
    values = [override.value() for override in parse_overrides(words) if override.key_or_group == "resume_force"]
    if values and not isinstance(values[-1], bool):
        raise InputError(f"resume_force={show(values[-1])} must be true or false")
    return bool(values and values[-1])


def stored_config(values: Any) -> TrainConfig:
    """The configuration in a run's folder or checkpoint; what it names is read, but never downloaded.

    Raises:
        InputError: it is not a configuration of byol-train.
    """
    config = load_stored(values)
    if isinstance(config.dataset, TorchvisionConfig):
        config = replace(config, dataset=replace(config.dataset, download=False))
    return replace(config, resume=None, resume_force=False)


def config_in(run_dir: Path) -> TrainConfig:
    """The configuration in a run's folder.

    Raises:
        InputError: there is none, or it is damaged.
    """
    path = run_dir / "config.yaml"
    try:
        return stored_config(yaml.safe_load(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def chooses_groups(words: Sequence[str]) -> bool:
    """Whether the words are a whole command typed again, rather than changes of single settings."""
    groups = {_group(override) for override in parse_overrides(words)}
    return not groups.isdisjoint(GROUPS - {HARMLESS_GROUP})


def words_on_evaluation(words: Sequence[str]) -> list[str]:
    """Those that choose what is measured at the end."""
    return [override.input_line or "" for override in parse_overrides(words) if _group(override) == HARMLESS_GROUP]


def asked_config(
    stored: TrainConfig,
    words: Sequence[str],
    *,
    composed: TrainConfig | None,
    evaluation: EvaluationConfig | None,
) -> TrainConfig:
    """What the command line makes of a `stored` configuration.

    Args:
        stored: of the run that goes on.
        words: change single settings of it.
        composed: what a whole command gives, in place of that.
        evaluation: what the words that choose it give, in place of the stored one.

    Raises:
        InputError: a setting that does not exist, or a wrong value.
    """
    if composed is not None:
        return replace(composed, name=stored.name, resume=None, resume_force=False)
    values = plain(stored)
    if evaluation is not None:
        values[HARMLESS_GROUP] = plain(evaluation)
    for override in parse_overrides(words):
        key = override.key_or_group
        elsewhere = _group(override) in (HARMLESS_GROUP, "resume", "resume_force")
        if not elsewhere and not key.startswith(("hydra.", "hydra/")):
            _set(values, override)
    return load(TrainConfig, values, OPTIONS)


def checked_config(
    stored: TrainConfig, asked: TrainConfig, *, source: str, whole: bool, force: bool, say: Callable[[str], None]
) -> TrainConfig:
    """`asked`, where it leaves the run's course alone or `force` is given; what changes is told to `say`.

    `whole`: it was read as a whole command, which may not have been meant.

    Raises:
        InputError: it would be another run.
    """
    changes = list(differences(plain(stored), plain(asked)))
    grave = [change for change in changes if not is_harmless(change[0])]
    if grave and not force:
        named = "; ".join(f"{key} is {show(old)} there and {show(new)} here" for key, old, new in grave[:SHOWN])
        more = f"; and {len(grave) - SHOWN} more" if len(grave) > SHOWN else ""
        how = " (these words were read as a whole command, because they choose a group)" if whole else ""
        raise InputError(f"{source} is another run: {named}{more}; resume_force=true goes on all the same{how}")
    for key, old, new in changes:
        say(f"{'' if is_harmless(key) else 'warning: '}changed: {key} from {show(old)} to {show(new)}")
    return asked


def refuse_what_is_not_named_again(stored: TrainConfig, words: Sequence[str]) -> None:
    """A run's folder never chooses code, nor a folder elsewhere to write in; raises InputError.

    `words` change single settings: all others are the run's own.
    """
    said = {override.key_or_group: override.value() for override in parse_overrides(words)}
    for key, value, reason in named_again(stored):
        if said.get(key) != value:
            raise InputError(f"this run {reason}: name it again by {shlex.quote(_typed(key, value))} if you trust it")
    if ROOT not in said:
        refuse_to_unpack(stored.dataset, remedy=f"only where {ROOT} is typed again")


def named_again(stored: TrainConfig) -> Iterator[tuple[str, str, str]]:
    """What has to be on the command line too: setting, value, and why."""
    if isinstance(stored.backbone, CustomConfig):
        yield FACTORY, stored.backbone.factory, "uses code of its own"
    dataset = stored.dataset
    if isinstance(dataset, FilesConfig):  # without a cache, too: dataset.cache=disk may be typed now
        usual = yaml.safe_load((CONFIG_DIR / "dataset" / f"{dataset.name}.yaml").read_text())["cache_dir"]
        if dataset.cache_dir != usual:
            yield CACHE_DIR, dataset.cache_dir, "keeps decoded images in a folder of its own"


def is_harmless(key: str) -> bool:
    """Whether a change of this setting leaves the run's course alone."""
    return key in HARMLESS or key.startswith(f"{HARMLESS_GROUP}.")


def differences(old: Any, new: Any, *, prefix: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Dotted name, old and new value of each setting that differs; null stands for one that is not there."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in [*old, *(key for key in new if key not in old)]:
            yield from differences(old.get(key), new.get(key), prefix=f"{prefix}.{key}" if prefix else key)
    elif old != new:
        yield prefix, old, new


def unfinished_runs(config: TrainConfig, folder: Path) -> list[Path]:
    """The runs in `folder` on the course of `config` that are not done, newest first."""
    runs = []
    for run_dir in folder.iterdir() if folder.is_dir() else ():
        if not holds_run(run_dir) or summary_if_done(run_dir):
            continue
        try:
            stored = config_in(run_dir)
        except InputError:  # of another version, or damaged: not a run to go on with unasked
            continue
        if all(is_harmless(key) for key, _, _ in differences(plain(stored), plain(config))):
            runs.append(run_dir)
    return sorted(runs, key=_last_written, reverse=True)


def _group(override: Override) -> str:
    return override.key_or_group.split("@")[0]


def _last_written(run_dir: Path) -> float:
    files = [run_dir / "config.yaml", run_dir / "metrics.jsonl", run_dir / "checkpoints" / "last.pt"]
    return max(file.stat().st_mtime for file in files if file.exists())


def _set(values: dict[str, Any], change: Override) -> None:
    *groups, name = change.key_or_group.split(".")
    for group in groups:
        values = values.get(group, {}) if isinstance(values, dict) else {}
    if not change.is_add() and not change.is_delete() and isinstance(values, dict) and name in values:
        values[name] = change.value()
        return
    raise InputError(f"{change.input_line}: resume takes setting=value, of a setting that the run has")


def resume_command(run_dir: Path, config: TrainConfig) -> str:
    """The line to type to go on with the run in `run_dir`."""
    folder = "./auto" if str(run_dir) == AUTO else str(run_dir)
    words = [("resume", folder), *((key, value) for key, value, _ in named_again(config))]
    started = ["torchrun", f"--nproc-per-node={local_world_size()}", "--no-python"] if world_size() > 1 else []
    return shlex.join([*started, "byol-train", *(_typed(key, value) for key, value in words)])


def _typed(key: str, value: str) -> str:
    """`key=value`, the value in quotes where it would be read as anything but itself."""
    try:
        (override,) = parse_overrides([f"{key}={value}"])
        plain_text = override.value() == value and "${" not in value
    except (InputError, ValueError):
        plain_text = False
    return f"{key}={value if plain_text else quoted(value)}"
