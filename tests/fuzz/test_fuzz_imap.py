"""The corpus of `imap`, and what grows from it in a while."""

from __future__ import annotations

from tests.fuzz.short import fuzzed


async def test_no_input_breaks_it() -> None:
    await fuzzed("imap")
