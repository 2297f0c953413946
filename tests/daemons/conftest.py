"""Organisations of real processes."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.harness.organisation import Organisation
from tests.harness.sink import SinkServer
from tests.harness.topologies import ready_topology


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def organisation(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Organisation]:
    """The two-site topology as processes, for all tests of a module."""
    data = tmp_path_factory.mktemp("two-sites") / "data"
    async with Organisation(ready_topology("two-sites", data)) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def sink() -> AsyncIterator[SinkServer]:
    """A smart host outside, for all tests of a module."""
    async with SinkServer() as server:
        yield server
