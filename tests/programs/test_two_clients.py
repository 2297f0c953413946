"""Two independent IMAP clients at random on one mailbox, and a checker: what each believes is what is true.

WAYPOST_TWO_CLIENTS_SECONDS=600 works longer, WAYPOST_TWO_CLIENTS_SEED=7 with a seed of choice. A seed repeats
the choices; in which order the servers get them from the two, and so what they act on, it does not.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from email import message_from_bytes
from email.policy import SMTP

import pytest

from tests.harness.imap_client import ImapClient
from tests.harness.imap_model import Broken
from tests.harness.imap_work import Shared, Worker
from tests.harness.organisation import Organisation
from tests.harness.patience import patient
from tests.programs.conftest import Pair, Place

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.slow]

SECONDS = float(os.environ.get("WAYPOST_TWO_CLIENTS_SECONDS", "20"))
SEED = int(os.environ.get("WAYPOST_TWO_CLIENTS_SEED", "0")) or random.SystemRandom().randrange(1, 2**31)
STEPS_BETWEEN_CHECKS = 12

Truth = list[tuple[int, frozenset[str], int]]


class Checker:
    """A client that looks afresh."""

    def __init__(self, client: ImapClient, shared: Shared) -> None:
        self._client = client
        self._shared = shared

    async def truth(self, folder: str, uid_validity: int) -> Truth | None:
        """UID, flags and modseq of every message, as a client sees them that selects the folder now. None:
        it is not there any more."""
        if not await self._client.select(folder, read_only=True):
            return None
        belief = self._client.belief
        assert belief is not None
        if belief.uid_validity != uid_validity:
            return None
        if belief.messages:
            await self._client.ok(b"FETCH 1:* (UID FLAGS MODSEQ BODY.PEEK[HEADER.FIELDS (X-NUMBER)])")
        for number, items in self._client.fetched:
            uid, header = int(items[b"UID"]), items[b"BODY[HEADER.FIELDS (X-NUMBER)]"]
            assert belief.messages[number - 1].uid == uid
            self._shared.learn(belief.uid_validity, uid, int(header.split()[1]))
        assert not belief.unknown()
        assert belief.uid_next > belief.last_uid
        return [(each.uid or 0, each.flags or frozenset(), each.modseq) for each in belief.messages]

    async def holds(self, worker: Worker, by_idle: bool) -> None:
        """Raises Broken where the worker's client believes what is not true, once it was told the news."""
        client = worker.client
        if client.belief is None:
            return
        truth = await self.truth(client.folder, client.belief.uid_validity)
        if truth is None:
            await worker.leave_what_is_gone()
            return
        if by_idle:
            await client.idle(lambda: _knows(client, truth), patient(5))
        else:
            await client.ok(b"NOOP")
        for number in client.belief.unknown():
            await client.ok(b"FETCH %d (UID FLAGS)" % number)
        if difference := client.belief.differs_from(truth):
            raise Broken(f"{worker.name} in {client.folder} {difference}")


def _knows(client: ImapClient, truth: Truth) -> bool:
    """Whether there is nothing more that it had to be told by itself."""
    assert client.belief is not None
    flags = {uid: flags for uid, flags, _ in truth}
    return len(client.belief.messages) == len(truth) and all(
        None in (each.uid, each.flags) or flags.get(each.uid or 0) == each.flags
        for each in client.belief.messages
    )


@dataclass
class Run:
    organisation: Organisation
    place: Place
    pair: Pair
    seed: int
    checks: int = 0
    shared: Shared = field(default_factory=Shared)
    clients: list[ImapClient] = field(default_factory=list)

    async def connect(self, name: str) -> ImapClient:
        trust = ssl.create_default_context(cafile=str(self.place.ca_file))
        client = await ImapClient.open(name, self.place.imaps, trust, self.pair.reader)
        self.clients.append(client)
        return client

    async def send(self, chance: random.Random) -> None:
        """Now and then a message arrives from another site while the two work."""
        if chance.random() < 0.3:
            _, content = self.shared.message(chance)
            await self.pair.sender.send(self.pair.reader, message=message_from_bytes(content, policy=SMTP))
            await self.organisation.wait_until_idle()

    async def go(self, seconds: float) -> None:
        """Raises Broken with the stories of both."""
        chance = random.Random(self.seed)
        checking = await self.connect("checker")
        await checking.ok(b"CREATE Side")
        checker = Checker(checking, self.shared)
        workers = [
            Worker(name, random.Random(chance.random()), self.shared, self.connect) for name in ("a", "b")
        ]
        deadline = time.monotonic() + seconds
        try:
            for worker in workers:
                await worker.start()
            while time.monotonic() < deadline:
                working = (worker.work(STEPS_BETWEEN_CHECKS) for worker in workers)
                await asyncio.gather(*working, self.send(chance))
                for worker in workers:
                    await checker.holds(worker, by_idle=chance.random() < 0.3)
                self.checks += 1
        except Broken as error:
            stories = "\n\n".join(f"--- {each.name}\n{each.client.told()}" for each in workers)
            raise Broken(f"seed {self.seed}, after {self.checks} checks: {error}\n\n{stories}") from error
        finally:
            for client in self.clients:
                await client.close()


async def test_what_each_believes_is_what_is_true(
    organisation: Organisation, place: Place, pair: Pair
) -> None:
    run = Run(organisation, place, pair, SEED)
    await run.go(SECONDS)
    done = run.shared.done
    print(f"seed {run.seed}: {run.checks} checks, {sum(done.values())} commands: {done}")
    assert run.checks > 3
    assert len(done) > 10


@pytest.mark.parametrize("lost", ["EXPUNGE", "EXISTS", "FETCH"])
async def test_the_checker_notices_a_response_that_never_came(
    organisation: Organisation, place: Place, pair: Pair, lost: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every tenth response of a kind is kept from the clients."""
    kind = re.compile(rf"\* \d+ {lost}\b".encode())
    really, count = ImapClient._untagged, itertools.count(1)

    def lossy(self: ImapClient, line: bytes, literals: Sequence[bytes]) -> None:
        if self.name == "checker" or not kind.match(line) or next(count) % 10:
            really(self, line, literals)

    monkeypatch.setattr(ImapClient, "_untagged", lossy)
    with pytest.raises(Broken):
        await Run(organisation, place, pair, SEED).go(patient(30))
