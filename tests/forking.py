"""The command line in a process of its own that nobody has to wait for: forked from one that has imported it.

Importing the program takes a command most of its time and a service half of its start's.  So a process that tests has one beside it
that has imported everything once, and forks for each command: with the arguments, environment, folder and files of the caller, in a
session of its own, and with an ordinary end.  What such processes share is memory that nobody writes, and the seed of Python's hashes;
a test of either starts an interpreter (``Sandbox(alone=True)``).  Needs Linux; elsewhere everybody starts one.
"""
from __future__ import annotations

import atexit
import functools
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

CAN_FORK = hasattr(os, "pidfd_open")
LONGEST = 1 << 17
"""Bytes of a request: words and environment."""
NOT_IMPORTED = ("bench", "torture")
"""Commands that tests start by themselves."""


class Forked:
    """A process that was forked for its caller: what is used of ``subprocess.Popen``."""

    def __init__(self, words: Sequence[str], environment: dict[str, str], files: Sequence[int], stdout: IO[str] | None = None) -> None:
        """``ringfence *words``, with *files* as its standard input, output and error; *stdout* is where the caller reads its output."""
        self._told, telling = os.pipe()
        request = json.dumps({"words": words, "environment": environment, "folder": os.getcwd()}).encode()
        try:
            socket.send_fds(_forker(), [request], [*files, telling])
        finally:
            os.close(telling)
        self.pid = int(self._line())
        self.returncode: int | None = None
        self.stdout = stdout

    def _line(self) -> bytes:
        said = b""
        while not said.endswith(b"\n"):
            more = os.read(self._told, 1)
            assert more, "what forks for the tests is gone"
            said += more
        return said

    def wait(self, seconds: float | None = None) -> int:
        """The exit code, negative for a signal; ``subprocess.TimeoutExpired`` where it takes longer."""
        if self.returncode is None:
            if not select.select([self._told], [], [], seconds)[0]:
                raise subprocess.TimeoutExpired(f"process {self.pid}", seconds or 0)
            self.returncode = int(self._line())
            os.close(self._told)
        return self.returncode

    def poll(self) -> int | None:
        """The exit code, ``None`` while it runs."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


@functools.cache
def _forker() -> socket.socket:
    """The line to the process that forks for this one."""
    here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.forking", str(there.fileno())], pass_fds=[there.fileno()], cwd=Path(__file__).parents[1],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    there.close()

    def end() -> None:
        here.close()
        process.wait()

    atexit.register(end)
    return here


# ---------------------------------------------------------------------------------------------------------- the other side

def serve(line: socket.socket) -> bool:
    """Fork for whoever asks, and tell how it ended.  True in each child, which has only to begin; false at the end of the line."""
    running: dict[int, tuple[int, int]] = {}                # the process and who is told, by what says that it has ended
    while True:
        ready = select.select([line, *running], [], [])[0]
        for ended in [one for one in ready if one is not line]:
            pid, telling = running.pop(ended)
            _tell(telling, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
            os.close(telling)
            os.close(ended)
        if line not in ready:
            continue
        said, files, *_ = socket.recv_fds(line, LONGEST, 4)
        if not said:
            return False
        request, telling = json.loads(said), files.pop()
        pid = os.fork()
        if pid == 0:
            for mine in (line.detach(), telling, *running, *(other for _, other in running.values())):
                os.close(mine)
            _become(request, files)
            return True
        for given in files:
            os.close(given)
        _tell(telling, pid)
        running[os.pidfd_open(pid)] = pid, telling


def _tell(whom: int, number: int) -> None:
    try:
        os.write(whom, b"%d\n" % number)
    except BrokenPipeError:
        return                                              # nobody wants to know any more


def _become(request: dict[str, object], files: list[int]) -> None:
    """What an interpreter is that was started with this request."""
    os.setsid()
    for number, given in enumerate(files):
        os.dup2(given, number)
        os.close(given)
    os.chdir(str(request["folder"]))
    os.environ.clear()
    os.environ.update(request["environment"])               # type: ignore[call-overload]
    if "TZ" in os.environ:
        time.tzset()
    sys.argv[1:] = request["words"]                         # type: ignore[call-overload]


def main() -> None:
    """Import the program, and fork."""
    from ringfence.cli import COMMANDS
    from ringfence.cli import main as begin
    for name, entry in COMMANDS.items():
        if name not in NOT_IMPORTED:
            importlib.import_module(entry.module)
    for module in ("ringfence.supervisor", "ringfence.worker"):
        importlib.import_module(module)
    gc.collect()
    gc.freeze()
    if serve(socket.socket(fileno=int(sys.argv[1]))):
        try:
            begin()
        except SystemExit as end:
            if isinstance(end.code, int):
                _end(end.code)
            raise


def _end(code: int) -> None:
    """An ordinary end but for freeing what was imported, which takes longer than most commands: it would be copied first."""
    threading._shutdown()                                   # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    main()
