"""What was run: the settings that matter, data and machine, and the commands that follow."""

import re
import shlex
from collections.abc import Mapping

import yaml

from byol_cli.report.markup import pairs, plain_value, section, table, text
from byol_cli.report.run_folder import RunFolder
from byol_cli.schema.load import quoted

SETTINGS = {
    "data set": "dataset.name",
    "its folder": "dataset.root",
    "image size": "augmentation.image_size",
    "backbone": "backbone.name",
    "its model": "backbone.model",
    "its weights": "backbone.weights",
    "projector width": "head.hidden_dim",
    "projection": "head.output_dim",
    "predictor": "head.predictor",
    "loss": "loss.name",
    "optimizer": "optimizer.name",
    "learning rate": "optimizer.lr",
    "its scaling": "optimizer.scale_lr",
    "weight decay": "optimizer.weight_decay",
    "schedule": "optimizer.schedule",
    "base tau": "ema.base_tau",
    "batch": "trainer.batch_size",
    "epochs": "trainer.epochs",
    "precision": "trainer.precision",
    "device": "trainer.device",
    "seed": "seed",
}
_SIMPLE = re.compile(r"[\w./+-]+")  # what Hydra takes without quotes
_SHOWN_BAD_IMAGES = 20


def settings_html(run: RunFolder, facts: Mapping[str, str]) -> str:
    """The settings; `facts` about data and machine, as the command knows them; and the whole configuration folded."""
    named = {title: run.setting(key) for title, key in SETTINGS.items()}
    shown = {title: plain_value(value) for title, value in named.items() if value is not None}
    parts = [pairs(shown) if shown else ""]
    known = {**machine(run), **facts}
    parts.append(f"<h3>Data and machine</h3>{pairs(known)}" if known else "")
    parts.append(_bad_images(run))
    if run.config:
        written = yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True)
        parts.append(f"<details><summary>All of config.yaml</summary><pre>{text(written)}</pre></details>")
    return section("settings", "Settings", "".join(parts)) if any(parts) else ""


def summary_line(run: RunFolder) -> str:
    """What was run, in one line."""
    key = run.setting
    length = f"{key('trainer.steps')} steps" if key("trainer.steps") else f"{key('trainer.epochs')} epochs"
    parts = {
        "backbone.name": f"{key('backbone.model') or key('backbone.name')}",
        "loss.name": f"loss {key('loss.name')}",
        "dataset.name": f"on {key('dataset.name')} at {key('augmentation.image_size')} px",
        "trainer.epochs": f"{length}, batch {key('trainer.batch_size')}",
        "optimizer.name": f"{key('optimizer.name')}, lr {plain_value(key('optimizer.lr'))}",
        "ema.base_tau": f"base tau {plain_value(key('ema.base_tau'))}",
    }
    return " · ".join(part for name, part in parts.items() if key(name) is not None)


def machine(run: RunFolder) -> dict[str, str]:
    """Libraries and processor, as the newest evaluation names them."""
    for row in reversed(run.evaluations):
        if isinstance(row.get("versions"), dict):
            return {str(name).replace("_", "-"): str(value) for name, value in row["versions"].items()}
    return {}


def commands_html(run: RunFolder) -> str:
    """Commands that go on from here, to be copied."""
    folder = str(run.path)
    trains_on = bool(run.config) and run.summary.get("status") != "done"
    commands = {
        "Go on training": command("byol-train", resume=folder) if trains_on else None,
        "Measure it": command("byol-eval", checkpoint=run.checkpoint),
        "Take the weights along": command(
            "byol-export", checkpoint=run.checkpoint, format="safetensors", output="backbone.safetensors"
        ),
        "Vectors of the images": command("byol-embed", checkpoint=run.checkpoint, output="vectors.npz"),
        "Watch in TensorBoard": shlex.join(["tensorboard", "--logdir", f"{folder}/tensorboard"]),
    }
    items = "".join(
        f"<div><dt>{text(name)}</dt><dd><code>{text(line)}</code></dd></div>" for name, line in commands.items() if line
    )
    return section("next", "Next", f'<dl class="commands">{items}</dl>')


def command(program: str, **words: str) -> str:
    """A command line, each value quoted for Hydra where it needs it, and for the shell."""
    return shlex.join(
        [program, *(f"{name}={value if _SIMPLE.fullmatch(value) else quoted(value)}" for name, value in words.items())]
    )


def _bad_images(run: RunFolder) -> str:
    if not run.bad_images:
        return ""
    count = len(run.bad_images)
    rows = [(text(name), [text(reason)]) for name, reason in run.bad_images[:_SHOWN_BAD_IMAGES]]
    more = f", the first {_SHOWN_BAD_IMAGES}" if count > _SHOWN_BAD_IMAGES else ""
    listed = table(f"images that cannot be read{more}", ["file", "reason"], rows, kind="listing")
    return f"<h3>{count:,} {'image' if count == 1 else 'images'} could not be read</h3>{listed}"
