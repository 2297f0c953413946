"""Where the mail programs come from, how they are run, and which versions they are."""

from __future__ import annotations

import asyncio
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from tests.harness.patience import patient

FOLDER = Path(__file__).parent
NODE_MODULES = FOLDER / "node_modules"

PACKAGES = {
    "swaks": "swaks",
    "msmtp": "msmtp",
    "s-nail": "s-nail",
    "mbsync": "isync",
    "neomutt": "neomutt",
    "fetchmail": "fetchmail",
    "getmail": "getmail6",
    "offlineimap": "offlineimap3",
    "curl": "curl",
    "node": "nodejs",
}
"""Debian's package of each program."""

LIBRARIES = {"aiosmtplib": "aiosmtplib", "IMAPClient": "imapclient", "aioimaplib": "aioimaplib"}
"""Distribution of each Python library."""

_VERSION = re.compile(r"\d+(?:\.\d+)+[\w.-]*")


def node_missing() -> str:
    """Why libraries of Node.js can't be used, and the mend; empty when they can."""
    if (NODE_MODULES / ".package-lock.json").is_file():
        return ""
    return f"{NODE_MODULES.relative_to(FOLDER.parent.parent)} is missing: make install-programs (needs npm)"


def version_of(program: str) -> str:
    """Version of a program or library as this machine has it; empty where it is missing."""
    if program in ("smtplib", "imaplib"):
        return platform.python_version()
    if program in LIBRARIES:
        return metadata.version(LIBRARIES[program])
    if program in ("nodemailer", "imapflow"):
        return _node_version(program)
    if not shutil.which(program):
        return ""
    done = subprocess.run((program, "--version"), capture_output=True, text=True, timeout=30, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else ""
