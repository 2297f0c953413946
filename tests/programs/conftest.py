"""The organisation that all mail programs use, two new users a test, and the programs themselves."""

from __future__ import annotations

import itertools
import os
import re
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from config.model import Endpoint
from tests.harness.mail import User
from tests.harness.organisation import Organisation
from tests.harness.topologies import ready_topology
from tests.programs.programs import NODE_MODULES, PACKAGES, node_missing

Program = Callable[[str], Path]


_numbers = itertools.count(1)


@dataclass(frozen=True)
class Place:
    """Where mail programs connect, and whom they trust."""

    submission: Endpoint
    submissions: Endpoint
    imap: Endpoint
    imaps: Endpoint
    ca_file: Path


@dataclass(frozen=True)
class Pair:
    """Two users on two sites: what one sends, the other gets through all servers."""

    sender: User
    reader: User


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def organisation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Organisation]:
    """The two-site topology as processes, for all programs."""
    data = tmp_path_factory.mktemp("programs") / "data"
    async with Organisation(ready_topology("two-sites", data)) as running:
        yield running


@pytest.fixture
def place(organisation: Organisation) -> Place:
    names = ("submission", "submissions", "imap", "imaps")
    return Place(*(organisation.endpoint("access", name) for name in names), ca_file=organisation.ca_file)


@pytest.fixture
def pair(organisation: Organisation, request: pytest.FixtureRequest) -> Pair:
    """Two users whom no other test knows."""
    name = re.sub(r"\W+", "-", request.node.name.removeprefix("test_")).strip("-")[:40]
    name += f"-{next(_numbers)}"
    return Pair(
        organisation.add_user(f"{name}-sender@example.test", store="store-a"),
        organisation.add_user(f"{name}-reader@example.test", store="store-b"),
    )


@pytest.fixture
def program() -> Program:
    """Path of a mail program. Missing, it fails the test in CI, where the set-up installs it, else skips
    it."""

    def find(name: str) -> Path:
        if found := shutil.which(name):
            return Path(found)
        return _missing(f"{name} is missing: apt-get install -y {PACKAGES[name]}")

    return find


@pytest.fixture
def node(program: Program) -> Path:
    """Node.js with the libraries that package.json names."""
    found = program("node")
    if reason := node_missing():
        _missing(reason)
    return found


def _missing(mend: str) -> Path:
    if os.environ.get("CI") == "true":
        pytest.fail(mend)
    pytest.skip(mend)


__all__ = ["NODE_MODULES", "Pair", "Place", "Program"]
