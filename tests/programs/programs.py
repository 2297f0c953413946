"""Where the mail programs come from, how they are run, and which versions they are."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import re
import shutil
import subprocess
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

_VERSION = re.compile(r"\d{8}|\d+(?:\.\d+)+[\w.-]*")


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
    option = "-v" if program == "neomutt" else "--version"
    done = subprocess.run((program, option), capture_output=True, text=True, timeout=30, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else ""


def _node_version(library: str) -> str:
    file = NODE_MODULES / library / "package.json"
    return str(json.loads(file.read_text("utf-8"))["version"]) if file.is_file() else ""


async def run(*command: str | Path, stdin: bytes = b"", home: Path | None = None) -> str:
    """Output of a program that has to succeed; `home`: where it looks for its settings."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    if home is not None:
        environment["HOME"] = str(home)
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        output, _ = await asyncio.wait_for(process.communicate(stdin), patient(60))
    finally:
        if process.returncode is None:
            process.kill()
    text = output.decode("utf-8", "replace")
    assert process.returncode == 0, text
    return text
