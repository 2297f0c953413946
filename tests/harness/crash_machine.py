"""A state machine of hypothesis whose process dies at any point: an operation is done whole or not at all."""

from __future__ import annotations

import asyncio
import copy
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine

from foundation.mail.errors import MailError
from tests.harness.crashing import IN_MEMORY, Crash, CrashingFiles

crashes = st.one_of(
    *[st.none()] * 5,
    st.builds(Crash, st.just("statement"), st.integers(0, 40)),
    st.builds(Crash, st.just("torn commit"), st.integers(0, 100_000)),
    st.builds(Crash, st.just("answer")),
)


class Refused(Exception):
    """The model says: it is refused, for this reason."""


class Modelled(Protocol):
    def state(self) -> dict[str, Any]:
        """As the database says it."""

    def recover(self) -> None:
        """A start."""


M = TypeVar("M", bound=Modelled)


class CrashMachine(RuleBasedStateMachine, Generic[M]):
    def __init__(self, model: M) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.place = Path(tempfile.mkdtemp(prefix="waypost-property-", dir=IN_MEMORY))
        self.files = CrashingFiles(self.place, "store.db")
        self.model = model
        self.open()

    # --- of each machine ---

    def open(self) -> None:
        """A process on `files.file`, listened to."""
        raise NotImplementedError

    async def close(self) -> None:
        raise NotImplementedError

    async def recover(self) -> None:
        """What a start does to the database; what the process before had in memory is gone."""
        raise NotImplementedError

    def observed(self) -> dict[str, Any]:
        raise NotImplementedError

    # --- lives and deaths ---

    def run(self, work: Awaitable[Any]) -> Any:
        return self.runner.run(work)

    def do(self, work: Callable[[], Awaitable[Any]], expect: Callable[[M], Any], crash: Crash | None) -> bool:
        """Both do it, with the same result. False: the process died, and lives again."""
        after, expected, reason = copy.deepcopy(self.model), None, ""
        try:
            expected = expect(after)
        except Refused as refused:
            after, reason = copy.deepcopy(self.model), str(refused)
        if crash is not None:
            self.files.arm(crash)
        try:
            result = self.run(work())
        except MailError as error:
            assert getattr(error, "reason", "") == reason, error
        else:
            assert not reason, f"{reason} was expected"
            assert expected is None or result == expected
        if crash is None:
            self.model = after
            return True
        self.files.crash(crash)
        possible = {"torn commit": [self.model], "answer": [after]}
        self.live_again(possible.get(crash.at, [self.model, after]))
        return False

    def live_again(self, possible: list[M]) -> None:
        self.run(self.close())
        self.open()
        found = self.observed()
        self.model = next((model for model in possible if model.state() == found), possible[-1])
        assert found == self.model.state()
        self.run(self.recover())
        self.model.recover()

    def end(self) -> None:
        """To be called last."""
        self.run(self.close())
        self.runner.close()
        shutil.rmtree(self.place)
