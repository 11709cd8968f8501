"""What Hydra's launchers and sweepers are told unless the command line says otherwise."""

import os
from collections.abc import Mapping, Sequence

from omegaconf import DictConfig

from byol_cli.cli.job_folder import key_of

AGAIN = ("joblib", "ray")  # all of whose jobs have ended where one of their processes is lost


def usual_words(hydra: DictConfig, words: Sequence[str], *, seed: int, on_cpu: bool) -> list[str]:
    """Overrides to hand over besides `words`.

    Args:
        hydra: that node, as the words make it.
        words: as typed.
        seed: that values are drawn by.
        on_cpu: the jobs are not to use a GPU.
    """
    choices: Mapping[str, str] = hydra.runtime.choices
    usual: dict[str, object] = {}
    if choices["hydra/sweeper"] == "optuna":
        usual["hydra.sweeper.direction"] = "maximize"  # a score: the higher the better
        usual["hydra.sweeper.max_failure_rate"] = 1.0  # a job that fails ends no others
        if "seed" in hydra.sweeper.sampler:
            usual["hydra.sweeper.sampler.seed"] = seed  # the same sweep again draws the same jobs, and finds them done
    if choices["hydra/launcher"] == "ray" and not on_cpu and _ray_has_gpus(hydra):
        usual["+hydra.launcher.ray.remote.num_gpus"] = 1
    typed = set(map(key_of, words))
    return [f"{key}={value}" for key, value in usual.items() if key_of(key) not in typed]


def close(launcher: str) -> None:
    """End what a launcher leaves behind in this process: Ray goes on printing what its jobs said."""
    if launcher == "ray":
        import ray

        ray.shutdown()


def _ray_has_gpus(hydra: DictConfig) -> bool:
    """A cluster is taken to have some; where this machine has none, a job that asks for one would wait for ever."""
    if hydra.launcher.ray.init.get("address") or os.environ.get("RAY_ADDRESS"):
        return True
    import torch

    return torch.cuda.is_available()
