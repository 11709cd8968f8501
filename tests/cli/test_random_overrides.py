"""Whatever is typed ends in a good run or in one line: random overrides of every setting and group there is.

What is typed is drawn from the schema's dataclasses and the files below configs/, so that a new setting is covered by
itself. BYOL_OVERRIDE_CASES sets the number of commands; drawn anew with BYOL_OVERRIDE_RANDOM=1.
"""

import dataclasses
import json
import os
import re
import signal
import socket
import tempfile
import types
import typing
import unicodedata
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image

from byol_cli.schema.command import OPTIONS, EvalConfig, TrainConfig
from byol_cli.schema.constraints import Range, Seed
from byol_cli.schema.load import CONFIG_DIR, show
from byol_cli.training import pretrain
from byol_cli.training.console import Progress

CASES = int(os.environ.get("BYOL_OVERRIDE_CASES", "25"))
ANEW = bool(os.environ.get("BYOL_OVERRIDE_RANDOM"))
LONGEST = 3  # steps after which a run that was asked to be long is interrupted, as somebody at the terminal would

# What the words of a command match that is known to end in another way; it is counted apart.
KNOWN: tuple[str, ...] = ()

DIGITS = (
    "backbone.widths=[4,8] backbone.blocks=[1,1] head.hidden_dim=16 head.output_dim=8 trainer.device=cpu "
    "trainer.batch_size=16 trainer.steps=2 dataset.image_size=8 augmentation.image_size=8 "
    "augmentation.evaluation_resize=8 trainer.probe_max_images=64"
).split()
KNN = [*DIGITS, "evaluation=[knn]"]
QUICK = "evaluation.linear.epochs=1 evaluation.few_label.draws=1 evaluation.few_label.labels_per_class=2".split()
FOLDER = (
    "dataset=image_folder dataset.root=photos dataset.selection_fraction=0.2 backbone=resnet_small head=small "
    "augmentation.image_size=16 augmentation.evaluation_resize=16 trainer.device=cpu trainer.batch_size=4 "
    "trainer.num_workers=0 trainer.steps=2"
).split()
BASES = {"digits": [*DIGITS, *QUICK], "k-NN": KNN, "folder": [*FOLDER, *QUICK]}
EVALUATION = ["checkpoint=trained", "device=cpu", "evaluation=[knn]"]
SYNTHETIC = ["++dataset.num_images=32", "++dataset.image_size=16"]  # where it is chosen, for its own take a while

HYDRA = "run.dir sweep.dir sweep.subdir job.name job.chdir output_subdir verbose nope".split()

ODD = [
    *("", "null", "nan", "inf", "-inf", "0", "1", "-1", "2", "0.5", "-0.5", "1e-300", "1e300", "true", "false", "no"),
    *("1000000000", "1000000000000000000", "9223372036854775807", "9" * 30, "9" * 400, "9" * 5000, "1e999", "0x10"),
    *("[]", "[[]]", "[1]", "[1,2]", "[null]", "[[1,2],[3]]", "[nan,nan]", "[0,0]", "[1000000000]", "{}", "{a:1}"),
    *("{name:lars}", "{1:2}", "{null:1}", "{true:{a:b}}", "[{a:1}]", "abc", "Größe", "图片", "🦜", "\udcff", "a b"),
    *("'a b'", '"a=b"', "'a,b'", "a=b", "'", '"', "[", "}", "\\", "'a\nb'", "'\t'", "../x", "/nowhere/x", "~", "~/x"),
    *(".", "x" * 300, "'" + "x/" * 3000 + "'", "-", "--", "*", "%s", "{}}", "$", "???", "'???'", "!!int 3"),
    *("${seed}", "${trainer.steps}", "${nope}", "${dataset}", "${trainer}", "${hydra.run.dir}", "${oc.env:HOME}"),
    *(
        "${oc.env:NOPE}",
        "${oc.env:NOPE,1}",
        "${oc.decode:1}",
        "${oc.decode:'[1'}",
        "${now:%Y}",
        "${nope:1}",
        "${",
        "${}",
    ),
    *(
        "${oc.create:{a:1}}",
        "${oc.dict.keys:trainer}",
        "${.lr}",
        "${..seed}",
        "cuda",
        "cuda:0",
        "cuda:99",
        "mps",
        "-1.5e",
    ),
    *("range(1)", "choice(1)", "glob(*)", "int(3)", "str(3)", "float(1)", "shuffle(1)", "sort(2,1)", "interval(0,1)"),
    *("http://127.0.0.1:9/x.pt", "photos", "tf_efficientnet_b0", "resnet18", "os:getcwd", "no.such:thing", "os"),
]


def settings_of(schema: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted name and type of every setting below a dataclass, in every option of its groups; of the groups too."""
    for kind in {schema, *OPTIONS.get(schema, {}).values()}:
        for name, hint in typing.get_type_hints(kind, include_extras=True).items():
            yield f"{prefix}{name}", hint
            for part in (hint, *get_args(hint)):
                if dataclasses.is_dataclass(part) and isinstance(part, type):
                    yield from settings_of(part, f"{prefix}{name}.")


def fitting(hint: Any) -> st.SearchStrategy[Any]:
    """Values of a setting's type, its ends and what lies just beyond them among them; small where size costs time."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return numbers(parts[0], parts[1], whole=hint == Seed)
    if origin in (Union, types.UnionType):
        return st.one_of([fitting(part) for part in parts])
    if origin is Literal:
        return st.sampled_from(parts)
    if origin is list:
        return st.lists(fitting(parts[0]), max_size=3)
    if origin is tuple:
        return st.tuples(*map(fitting, parts)).map(list)
    if dataclasses.is_dataclass(hint):
        return st.sampled_from([None, {}])
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        str: st.sampled_from(["x", "cpu", "auto", "photos", "resnet18", "a/b"]),
        int: st.integers(-1, 9),
        float: st.floats(-1, 2),
        type(None): st.none(),
    }
    return kinds[hint]


def numbers(kind: type, limits: Range, *, whole: bool) -> st.SearchStrategy[Any]:
    """Numbers at both ends of a range, beyond them and near the lower one; `whole`: a large one costs no time."""
    top = min(limits.high, limits.cap)
    if kind is int:
        ends = {limits.low - 1, limits.low, *({top + 1} if top < float("inf") else ()), *({top} if whole else ())}
        return st.sampled_from(sorted(map(int, ends))) | st.integers(int(limits.low), int(limits.low) + 9)
    ends = {end for end in (limits.low, top) if abs(end) < float("inf")}
    return st.sampled_from(sorted(ends)) | st.floats(max(limits.low, -10), min(top, 10))


GROUPS = {
    folder.name: sorted(option.stem for option in folder.glob("*.yaml"))
    for folder in CONFIG_DIR.iterdir()
    if folder.is_dir()
}
# One in eight; Hypothesis draws the ends of a range more often than its middle.
RARELY = st.integers(0, 79).map(lambda number: 40 <= number < 50)


def sensible(schema: type) -> st.SearchStrategy[str]:
    """`setting=value` words of a value that fits, or just does not."""
    known = st.sampled_from(sorted(dict(settings_of(schema)).items(), key=lambda item: item[0]))
    return known.flatmap(lambda item: fitting(item[1]).map(lambda value: f"{item[0]}={show(value)}"))


def assignments(schema: type) -> st.SearchStrategy[str]:
    """`setting=value` words of any value, Hydra's own settings among them."""
    names = [*sorted(dict(settings_of(schema))), *(f"hydra.{name}" for name in HYDRA)]
    odd = st.sampled_from(ODD)
    anything = st.text(st.characters(exclude_characters="\0"), max_size=8)  # no argument of a process can hold \0
    return st.tuples(st.sampled_from(names), odd | odd | anything).map("=".join)


def choices() -> st.SearchStrategy[str]:
    """`group=option` words, of options that are there or not."""
    odd = st.sampled_from(["nope", "null", "[]", "1", "", "default", "digits", "'../dataset/digits'"])
    options = [f"{group}={option}" for group, names in GROUPS.items() for option in names]
    measurements = st.lists(st.sampled_from(GROUPS["evaluation"]), max_size=4).map(
        lambda names: f"evaluation={show(names)}"
    )
    named = st.tuples(st.sampled_from(sorted(GROUPS)), odd).map("=".join)
    return st.sampled_from(options) | st.sampled_from(options) | measurements | named


@st.composite
def spoilt(draw: st.DrawFn, words: st.SearchStrategy[str]) -> str:
    """A word in another of Hydra's forms, or misspelt."""
    key, _, value = draw(words).partition("=")
    place = draw(st.integers(0, len(key) - 1))
    misspelt = key[:place] + key[place + 1 :]
    moved = f"{draw(st.sampled_from(sorted(GROUPS)))}.{key.rpartition('.')[2]}"
    return draw(
        st.sampled_from(
            [
                *(f"~{key}", f"~{key}={value}", f"+{key}={value}", f"++{key}={value}", f"{misspelt}={value}"),
                *(
                    f"{moved}={value}",
                    f"{key}.x={value}",
                    f"{key}@x={value}",
                    f"+x@{key}={value}",
                    f"{key}",
                    f"{key}==",
                ),
                *(f" {key} = {value} ", f"{key}:={value}", f"={value}", f"+{key}.new={value}", f"{key}[0]={value}"),
            ]
        )
    )


def overrides(schema: type) -> st.SearchStrategy[list[str]]:
    """One to four words of every sort."""
    fits, any_value = sensible(schema), assignments(schema)
    word = st.one_of(fits, any_value, choices(), choices(), spoilt(fits | any_value | choices()))
    return (st.lists(fits, min_size=1, max_size=4) | st.lists(word, min_size=1, max_size=4)).flatmap(repeated)


def repeated(words: list[str]) -> st.SearchStrategy[list[str]]:
    """Now and then the first setting is set a second time."""
    again = words[0].partition("=")[0] + "=1"
    return RARELY.map(lambda rarely: [*words, again] if rarely else words)


@st.composite
def commands(draw: st.DrawFn) -> tuple[str, list[str]]:
    """A program and the words behind its name."""
    if draw(RARELY):
        return "byol-eval", [*EVALUATION, *draw(overrides(EvalConfig))]
    words = draw(overrides(TrainConfig))
    base = BASES[draw(st.sampled_from(sorted(BASES)))]
    if draw(st.booleans()):  # settings of another option than the one chosen would only be refused
        chosen = tuple(f"{word.partition('=')[0]}." for word in words if word.partition("=")[0] in GROUPS)
        base = [word for word in base if not word.startswith(chosen)]
    if "dataset=synthetic" in words or "experiment=synthetic" in words:
        base = [*base, *SYNTHETIC]
    if draw(RARELY):
        key, equals, value = words[0].partition("=")
        words[0] = f"{key}{equals}{value},{draw(st.sampled_from(['1', '0.5', value]))}"
        return "byol-train", ["-m", *base, *words]
    return "byol-train", [*base, *words]


# Each ended in a traceback, in two lines, or left a folder behind.
LONG = "x" * 300
FOUND: tuple[tuple[str, list[str]], ...] = (
    ("byol-train", [*KNN, "trainer.device='cpu\n'"]),
    ("byol-train", [*KNN, "trainer.device='\x1b[31mcpu'"]),
    ("byol-train", [*KNN, "dataset.root=a\r"]),
    ("byol-train", [*KNN, f"seed={'9' * 5000}"]),
    ("byol-train", [*KNN, f"optimizer.lr={'9' * 400}"]),
    ("byol-train", [*KNN, "hydra=1"]),
    ("byol-train", [*KNN, "~evaluation=[]"]),
    ("byol-train", [*KNN, "backbone.name=[1]"]),
    ("byol-train", [*KNN, "++evaluation.knn={1:2}"]),
    ("byol-train", [*KNN, f"name={LONG}"]),
    ("byol-train", [*KNN, f"name='{'x/' * 3000}'"]),
    ("byol-train", [*KNN, f"resume={LONG}"]),
    ("byol-train", [*KNN, f"backbone.weights={LONG}"]),
    ("byol-train", [*KNN, "hydra.job.chdir=true"]),
    ("byol-train", [*FOLDER, *QUICK, "trainer.num_workers=1", "trainer.worker_timeout_seconds=1e300"]),
    ("byol-train", ["dataset=cifar10", "dataset.download=true"]),
    ("byol-eval", [*EVALUATION, f"checkpoint={LONG}"]),
    ("byol-eval", [*EVALUATION, "device='cpu\n'"]),
)


def write_photos(folder: Path) -> None:
    """Two classes of tiny pictures."""
    rng = np.random.default_rng(0)
    for number in range(24):
        place = folder / "ab"[number % 2]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)).save(place / f"{number}.png")


@pytest.fixture
def guarded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Nothing can be fetched, compiled for minutes or trained for long; home is the test's own folder."""

    def unreachable(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    steps: weakref.WeakKeyDictionary[Progress, int] = weakref.WeakKeyDictionary()
    advance = Progress.advance

    def advance_for_a_while(self: Progress, images: int) -> None:
        steps[self] = steps.get(self, 0) + 1
        if steps[self] == LONGEST:
            os.kill(os.getpid(), signal.SIGTERM)
        advance(self, images)

    monkeypatch.setattr(socket, "getaddrinfo", unreachable)
    monkeypatch.setattr(pretrain, "compile_networks", lambda *_, **__: False)
    monkeypatch.setattr(Progress, "advance", advance_for_a_while)
    monkeypatch.setenv("HOME", str(tmp_path))


FAULTS = ("not finite", "collaps", "out of memory", "processes that read images gave")


def judge(program: str, words: list[str], ended: Any, folder: Path, before: set[Path]) -> str:
    """The outcome in one word; raises AssertionError where it is none that is allowed."""
    lines = [line for line in ended.err.split("\n") if line.strip()]
    assert "Traceback" not in ended.err + ended.out, ended.err
    controls = [letter for line in lines for letter in line if unicodedata.category(letter) == "Cc"]
    assert not controls, ended.err
    made = set(folder.rglob("*")) - before
    summaries = [json.loads(path.read_text()) for path in made if path.name == "summary.json"]
    if "-m" in words:
        return judge_sweep(ended, lines, summaries)
    if ended.code == 0:
        trained = [summary["status"] for summary in summaries] == ["done"]
        assert program == "byol-eval" or trained or "there is nothing left to do" in ended.out, ended
        return "done"
    assert lines, ended
    assert lines[-1].startswith(f"{program}: "), ended.err
    if ended.code == 2:
        assert len(lines) == 1, ended.err
        assert not {path for path in made if "features" not in path.parts}, made
        return "refused"
    if ended.code == 3:
        assert [line for line in lines if line.startswith(program)] == lines[-1:], ended.err
        assert any(cause in lines[-1] for cause in FAULTS), ended.err
        return "fault"
    assert ended.code == 75, ended
    assert "interrupted and saved at step" in lines[-1], ended.err
    assert [summary["status"] for summary in summaries] == ["interrupted"]
    return "interrupted"


def judge_sweep(ended: Any, lines: list[str], summaries: list[dict[str, Any]]) -> str:
    """The same for `-m`: refused as a whole in one line, or a line for each job that did not come to its end."""
    assert ended.code in (0, 2, 3, 75), ended
    jobs = [line for line in lines if line.startswith("[job ")]
    complaints = [line for line in lines if line.startswith("byol-train: ")]
    if not jobs:
        assert ended.code == 2, ended
        assert len(lines) == len(complaints) == 1, ended.err
        return "sweep refused"
    statuses = Counter(summary["status"] for summary in summaries)
    assert sum(statuses.values()) <= len(jobs)
    assert len(complaints) == len(jobs) - statuses["done"], ended.err
    assert (ended.code == 0) == (statuses["done"] > 0 and not statuses["interrupted"]), ended
    return "sweep"


@pytest.mark.slow
def test_every_command_ends_well_or_in_one_line(
    command: Callable[..., Any],
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    guarded: None,
) -> None:
    tried, seen = Counter[str](), set[tuple[str, ...]]()
    trained = command("byol-train", (*BASES["k-NN"], f"hydra.run.dir={tmp_path}/trained"))
    assert trained.code == 0, trained.err

    @with_examples
    @settings(
        max_examples=CASES,
        derandomize=not ANEW,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(commands())
    def ends_well(case: tuple[str, list[str]]) -> None:
        program, words = case
        if (program, *words) in seen:  # Hypothesis repeats itself; only different commands are counted
            return
        seen.add((program, *words))
        with tempfile.TemporaryDirectory(dir=tmp_path) as name:
            folder = Path(name) / "a" / "b" / "c"  # so that ../.. stays inside
            folder.mkdir(parents=True)
            write_photos(folder / "photos")
            (folder / "trained").symlink_to(tmp_path / "trained")
            before = set(Path(name).rglob("*"))
            monkeypatch.chdir(folder)
            try:
                outcome = judge(program, words, command(program, tuple(words)), Path(name), before)
            except Exception:
                if not any(re.search(pattern, " ".join(words), re.DOTALL) for pattern in KNOWN):
                    raise
                outcome = "known"
            finally:
                monkeypatch.chdir(tmp_path)
        tried[outcome] += 1

    ends_well()
    with capfd.disabled():
        print(
            f"\n{sum(tried.values())} different commands: {', '.join(f'{n} {what}' for what, n in tried.most_common())}"
        )
    assert tried["done"] > 0
    assert tried["refused"] > 0


def with_examples(test: Callable[..., None]) -> Callable[..., None]:
    """The commands that were found to end otherwise are always tried."""
    for case in FOUND:
        test = example(case)(test)
    return test
