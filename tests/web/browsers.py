"""Whether the pages can be looked at with a real browser here; and if not, how many tests did not run because of that.

Debian's Chromium, or one at ``RINGFENCE_TEST_CHROMIUM``.  Debian packages it twice: ``chromium-headless-shell`` is the same without the
windows, menus and extensions of a desktop, which take half of a test's time though nobody sees them; it is used where both are.

With ``RINGFENCE_TEST_BROWSER=required``, which CI sets, a missing one fails.
Screenshots go to the folder ``RINGFENCE_TEST_SCREENSHOTS``, by default ``build/screenshots``.
"""
from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

CHROMIUM = (os.environ.get("RINGFENCE_TEST_CHROMIUM") or shutil.which("chromium-headless-shell") or shutil.which("chromium")
            or "/usr/bin/chromium")
SCREENSHOTS = Path(os.environ.get("RINGFENCE_TEST_SCREENSHOTS") or Path(__file__).parents[2] / "build" / "screenshots")
ARGUMENTS = ["--no-sandbox", "--disable-dev-shm-usage"]
AXE = Path(__file__).parent / "vendor" / "axe-4.14.1.min.js"


def missing() -> str:
    """What a browser test lacks here, "" for nothing."""
    if not os.access(CHROMIUM, os.X_OK):
        return f"there is no Chromium at {CHROMIUM} (on Debian: apt-get install chromium-headless-shell fonts-noto-core)"
    return "" if importlib.util.find_spec("playwright") else "the package playwright is not installed"


def is_required() -> bool:
    """Whether a missing browser fails the run."""
    return os.environ.get("RINGFENCE_TEST_BROWSER") == "required"
