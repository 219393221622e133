"""``python -m tests.simulation --seed S --count N``: runs histories, says how many a minute, and tells a failing one step by step."""
from __future__ import annotations

import argparse
import logging
import sys
import time

from tests.simulation.history import History


def main() -> int:
    """1 where a history ended as none may."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description="Simulated histories against the reference model.")
    parser.add_argument("--seed", type=int, default=1, help="of the first history; the others follow")
    parser.add_argument("--count", type=int, default=1000, help="how many histories")
    parser.add_argument("--steps", action="store_true", help="tell every history, not only one that fails")
    given = parser.parse_args()
    if given.count < 1:
        parser.error("--count must be at least 1")
    logging.disable(logging.CRITICAL)
    began, breaks = time.monotonic(), 0
    for seed in range(given.seed, given.seed + given.count):
        told = History(seed).run()
        if told.wrong or given.steps:
            print(f"seed {seed}\n" + "\n".join(told.steps))
            print("\n".join(f"  WRONG {one}" for one in told.wrong))
        breaks += bool(told.wrong)
    seconds = time.monotonic() - began
    print(f"{given.count} histories, {breaks} breaks, {given.count / seconds * 60:,.0f} histories a minute")
    return bool(breaks)


if __name__ == "__main__":
    sys.exit(main())
