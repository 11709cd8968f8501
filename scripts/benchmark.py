"""Measures speed in alternating rounds, beside other libraries and beside what nobody can be faster than.

python scripts/benchmark.py views|step|loop|saves|eval|startup|all ... [--peers lightly,byol-pytorch] [--json FILE]
    views    two views of every image, from JPEG files, on one thread
    step     a training step on views that are on the device already
    loop     the whole training loop beside a bare one
    saves    what a checkpoint costs the loop, written beside it and waited for
    eval     k-NN, linear probe, features
    startup  from the start of byol-train to its first step
    shards   the start on 1.28 million images in shards, and how fast they are read

It prints tables in Markdown: the median of all rounds, the least and the greatest, and ratios, paired round by round.
Leave the machine alone meanwhile. The other libraries: pip install -r scripts/requirements-benchmark.txt
"""

import argparse
import importlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path

from benchmarks.options import PEERS, Options

from byol_cli.cli.command import BUG, DONE, Outcome, complain, guarded
from byol_cli.schema.errors import InputError

PROGRAM = "benchmark.py"
MODULES = {name: name for name in ("views", "step", "loop", "saves")} | {"eval": "evaluation"}
MODULES |= {name: name for name in ("startup", "shards")}
INSTALL = "pip install -r scripts/requirements-benchmark.txt"


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    words = parse(argv)
    names = chosen(words.names)
    peers = installed_peers() if words.peers is None else named_peers(words.peers)
    check(words)
    options = Options(rounds=words.rounds, peers=peers, images=words.images)

    from benchmarks.report import as_json, header, machine

    facts = machine(peers)
    print(header(facts), flush=True)
    for peer in PEERS:
        if peer not in peers:
            reason = "is not named by --peers" if is_installed(peer) else f"is not installed ({INSTALL})"
            print(f"{peer} {reason}: no ratios to it", flush=True)
    tables = []
    try:
        for name in names:
            for table in importlib.import_module(f"benchmarks.{MODULES[name]}").tables(options):
                print(f"\n{table.markdown()}", flush=True)
                tables.append(table)
    except ChildProcessError as error:
        return complain(PROGRAM, Outcome(BUG, message=str(error)))
    if words.json is not None:
        words.json.write_text(json.dumps(as_json(tables, facts), indent=2) + "\n")
    return DONE


def parse(argv: list[str]) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(MODULES)}, or all")
    parser.add_argument("--peers", help="such as lightly,byol-pytorch, or none; without it, those that are installed")
    parser.add_argument("--rounds", type=int, default=7, help="after a warm-up round (default: 7)")
    parser.add_argument("--images", type=Path, help="take the first 64 JPEG files below this folder for 224 px")
    parser.add_argument("--json", type=Path, help="write all figures into this file")
    return parser.parse_intermixed_args(argv)


def chosen(names: list[str]) -> list[str]:
    """The benchmarks to run, in their own order; raises InputError for a name that is none."""
    for name in names or ["nothing"]:
        if name not in (*MODULES, "all"):
            raise InputError(f"{name} is none of {', '.join(MODULES)}, all")
    return [name for name in MODULES if name in names or "all" in names]


def named_peers(text: str) -> tuple[str, ...]:
    """The peers of a list with commas; raises InputError for one that is not known or not installed."""
    peers = tuple(text.split(",")) if text != "none" else ()
    for peer in peers:
        if peer not in PEERS:
            raise InputError(f"--peers={text}: {peer} is none of {', '.join(PEERS)}, none")
        if not is_installed(peer):
            raise InputError(f"--peers={text}: {peer} is not installed; {INSTALL}")
    return peers


def installed_peers() -> tuple[str, ...]:
    """Those that can be compared with."""
    return tuple(peer for peer in PEERS if is_installed(peer))


def is_installed(peer: str) -> bool:
    """Whether Python would find it."""
    return find_spec(peer.replace("-", "_")) is not None


def check(words: argparse.Namespace) -> None:
    """Raise InputError for what would fail later, perhaps after many minutes."""
    if words.rounds < 1:
        raise InputError(f"--rounds={words.rounds} must be at least 1")
    if words.images is not None:
        from benchmarks.pictures import jpeg_files

        if not jpeg_files(words.images):
            raise InputError(f"--images={words.images} is no folder with JPEG files in it")
    if words.json is not None and not words.json.parent.is_dir():
        raise InputError(f"--json={words.json}: there is no folder {words.json.parent}")


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
