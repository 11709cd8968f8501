"""`byol-train dataset=X` without `experiment=` means the preset of the same name."""

from collections.abc import Sequence

from byol_cli.cli.compose import parse_overrides
from byol_cli.schema.errors import InputError
from byol_cli.schema.load import CONFIG_DIR


def with_preset(words: Sequence[str]) -> list[str]:
    """`words`, and `experiment=X` where they name `dataset=X` alone.

    Raises:
        InputError: a sweep over data sets without a word on the experiment.
    """
    chosen = {override.key_or_group: override for override in parse_overrides(words)}
    if "dataset" not in chosen or "experiment" in chosen:
        return list(words)
    dataset = chosen["dataset"]
    if dataset.is_sweep_override():
        raise InputError(
            f"{dataset.input_line}: sweep over experiment=... instead; each names its data set and what suits it"
        )
    name = str(dataset.value())
    known = (CONFIG_DIR / "experiment" / f"{name}.yaml").is_file()
    return [*words, f"experiment={name}" if known else "~experiment"]
