"""A web server that fails on purpose: where shards lie far away, training must not notice."""

import threading
import time
from collections import Counter
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

HANG_SECONDS = 0.6
GARBAGE = bytes(byte ^ 85 for byte in range(256))


class FailingServer:
    """Serves a folder on this machine alone; the first answers to each request are `faults`, one after another.

    `503`; `hang`: no answer; `drop`: the connection breaks after a third; `short`: half, which the header calls all;
    `garbage`: other bytes. What is text has neither of the last two, because nobody could tell.
    """

    def __init__(self, folder: Path, faults: Sequence[str]) -> None:
        """Ready to be entered as a context."""
        self.folder, self.faults = folder, faults
        self.asked: Counter[str] = Counter()
        """By request: path and range."""
        self.given: Counter[str] = Counter()
        """By fault, "" for good answers."""
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"owner": self}))
        self.url = f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> "FailingServer":
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()

    def next_fault(self, path: str, part: str) -> str:
        """What the next answer to this request is to be."""
        with self._lock:
            number = self.asked[f"{path} {part}"]
            self.asked[f"{path} {part}"] += 1
            fault = self.faults[number] if number < len(self.faults) else ""
            if path.endswith(".txt") and fault in ("short", "garbage"):
                fault = "503"
            self.given[fault] += 1
            return fault

    def parts_asked(self, name: str) -> int:
        """How often a part of the file was asked for."""
        return sum(count for request, count in self.asked.items() if request.startswith(f"/{name} bytes="))


class _Handler(BaseHTTPRequestHandler):
    owner: FailingServer

    def log_message(self, *_: Any) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        """Answer, or fail."""
        file, part = self.owner.folder / self.path.lstrip("/"), self.headers.get("Range", "")
        if not file.is_file():
            self.send_error(404)
            return
        fault, data = self.owner.next_fault(self.path, part), file.read_bytes()
        if fault == "hang":
            time.sleep(HANG_SECONDS)
            return
        if fault == "503":
            self.send_error(503)
            return
        if part:
            first, last = map(int, part.removeprefix("bytes=").split("-"))
            data = data[first : last + 1]
        if fault == "garbage":
            data = data.translate(GARBAGE)
        if fault == "short":
            data = data[: len(data) // 2]
        self.send_response(206 if part else 200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 3] if fault == "drop" else data)
