"""The signals that ask a run to stop."""

import signal

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP") if hasattr(signal, name)]
"""They are meant for the run, but reach all its processes where a terminal or SLURM sends them to the group."""
