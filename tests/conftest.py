"""For all tests: two processes share the cores (pyproject.toml), so that each computes on one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported
