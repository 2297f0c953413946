from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from foundation.interfaces.mailbox_store import MailboxStore
from tests.unit.foundation.rpc.rig import Rig, SmallStore


@pytest.fixture
def small_store() -> SmallStore:
    return SmallStore()


@pytest.fixture
async def rig(small_store: SmallStore) -> AsyncIterator[Rig]:
    made = Rig({MailboxStore: small_store})
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def remote(rig: Rig) -> MailboxStore:
    """The small store, called from afar."""
    return rig.client().interface(MailboxStore)
