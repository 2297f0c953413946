"""The corpus of each target, and what grows from it in a while."""

from __future__ import annotations

from asyncio.subprocess import Process
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.fuzz.short import fuzzing, printed_by
from tests.fuzz.targets import TARGETS

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def processes() -> AsyncIterator[dict[str, Process]]:
    async with fuzzing(list(TARGETS)) as started:
        yield started


@pytest.mark.parametrize("target", TARGETS)
async def test_no_input_breaks_it(processes: dict[str, Process], target: str) -> None:
    printed = await printed_by(processes[target])
    print(printed)
    assert processes[target].returncode == 0, printed
