"""How commands end: the exit codes, and the one exception that carries a sentence for people.

Whoever cannot go on raises ``Failure``; the command line prints its sentence, without a traceback, and exits with its code.
"""
from __future__ import annotations

from enum import IntEnum


class Exit(IntEnum):
    """Exit codes of ``ringfence``."""

    OK = 0                  # done
    CHECK_FAILED = 1        # a check of proof, doctor or bench failed; or something is broken (a traceback says what)
    USAGE = 2               # the command line cannot be understood
    CONFIGURATION = 3       # a variable is wrong, or live mode refuses to start
    DATA_FOLDER = 4         # the data folder is in use by another service, or cannot be written
    PORT = 5                # the port cannot be listened on
    DATABASE = 6            # the database cannot be reached or used, or its schema does not fit this program
    MASTER_KEY = 7          # the master key is missing or not the one this vault was made with
    NOT_RUNNING = 8         # the command needs a running service, and none answers
    REFUSED = 9             # the service refused what was asked: the sentence names the field


class Failure(Exception):
    """Why a command cannot go on, as a sentence, and the exit code that says so to programs."""

    def __init__(self, code: Exit, sentence: str) -> None:
        super().__init__(sentence)
        self.code, self.sentence = code, sentence
