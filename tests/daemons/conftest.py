"""Organisations of real processes, and the mail programs that tests use."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio

from tests.harness.organisation import Organisation
from tests.harness.topologies import ready_topology

PACKAGES = {"mbsync": "isync"}
"""Debian's package of a program, where it is not called like it."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Organisation]:
    """The two-site topology as processes, for all tests of a module."""
    data = tmp_path_factory.mktemp("two-sites") / "data"
    async with Organisation(ready_topology("two-sites", data)) as running:
        yield running


@pytest.fixture
def program() -> Callable[[str], Path]:
    """Path of a mail program. Missing, it fails the test in CI, where the set-up installs it, else skips
    it."""

    def find(name: str) -> Path:
        if found := shutil.which(name):
            return Path(found)
        mend = f"{name} is missing: apt-get install -y {PACKAGES.get(name, name)}"
        if os.environ.get("CI") == "true":
            pytest.fail(mend)
        pytest.skip(mend)

    return find
