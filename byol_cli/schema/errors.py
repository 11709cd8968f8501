"""The two ways a command can fail on purpose; each carries one line for the person at the terminal."""


class InputError(Exception):
    """Something the user gave is wrong: a setting, a path, a file. One line, exit code 2."""


class TrainingFault(Exception):
    """Training cannot go on: it diverged, collapsed or cannot save. One line, exit code 3."""
