"""Does a run that is killed again and again end as one that never was? Every tensor and figure is compared to the bit.

python scripts/torture.py kills [--kills 100] [--in-writes 0.3] [--signal kill] [OVERRIDE ...]
    starts byol-train, kills it at random moments, a share of them inside the write of a checkpoint, and resumes it
python scripts/torture.py controls
    spoils one piece of the state after the other before a run goes on: the comparison must notice each

It ends with 1 where the comparison says what it should not. Linux only: processes are watched through /proc.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from byol_cli.cli.command import BUG, Outcome, complain, guarded
from byol_cli.schema.errors import InputError

PROGRAM = "torture.py"
SIGNALS = ("kill", "term", "int", "usr1")


def main(argv: list[str]) -> int:
    """The command; returns its exit code."""
    words = parse(argv)
    check(words)
    with TemporaryDirectory() as temporary:
        try:
            return kills(words, words.keep or Path(temporary)) if words.what == "kills" else controls(Path(temporary))
        except ChildProcessError as error:
            return complain(PROGRAM, Outcome(BUG, message=str(error)))


def kills(words: argparse.Namespace, folder: Path) -> int:
    """Kill and compare; returns the exit code."""
    from tortures.kills import Plan, torture

    plan = Plan(kills=words.kills, share_in_writes=words.in_writes, signal_name=words.signal, seed=words.seed)
    tally = torture(words.overrides, folder, plan=plan)
    print(tally.table())
    return 0 if tally.passed else 1


def controls(folder: Path) -> int:
    """Spoil and compare; returns the exit code."""
    from tortures.controls import passed, spoil_each, table

    comparisons = spoil_each(folder)
    print(table(comparisons))
    return 0 if passed(comparisons) else 1


def parse(argv: list[str]) -> argparse.Namespace:
    """The words of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True, metavar="kills|controls")
    commands.add_parser("controls", help="spoil one piece of the state after the other")
    kills = commands.add_parser("kills", help="kill runs at random moments")
    kills.add_argument("overrides", nargs="*", help="of byol-train")
    kills.add_argument("--kills", type=int, default=100, help="how many (default: 100)")
    kills.add_argument("--in-writes", type=float, default=0.3, help="share inside a write (default: 0.3)")
    kills.add_argument("--signal", choices=SIGNALS, default="kill", help="default: kill; after another exit code 75")
    kills.add_argument("--seed", type=int, default=0, help="of the moments (default: 0)")
    kills.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the runs in this new folder")
    return parser.parse_args(argv)


def check(words: argparse.Namespace) -> None:
    """Raise InputError for what would fail later."""
    if words.what == "controls":
        return
    if words.kills < 1:
        raise InputError(f"--kills={words.kills} must be at least 1")
    if not 0 <= words.in_writes <= 1:
        raise InputError(f"--in-writes={words.in_writes:g} must lie between 0 and 1")
    if words.keep is not None:
        if words.keep.exists():
            raise InputError(f"--keep={words.keep} is there already")
        if not words.keep.parent.is_dir():
            raise InputError(f"--keep={words.keep}: there is no folder {words.keep.parent}")


if __name__ == "__main__":
    sys.exit(guarded(PROGRAM, lambda: main(sys.argv[1:])))
