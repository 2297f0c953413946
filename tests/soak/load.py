"""Clients under load: real SMTP submissions, each kept for the ledger with what its client was answered."""

from __future__ import annotations

import asyncio
import random
import smtplib
from collections.abc import Callable

from tests.harness.mail import User, compose
from tests.harness.organisation import Organisation
from tests.soak.ledger import DIGEST, Answer, Entry, digest_of

FRIEND, NOBODY = "friend@elsewhere.example", "nobody@elsewhere.example"
GROUP, ALIAS = "all@example.test", "robert@example.test"
ALIAS_OF = "bob@example.test"
USERS = ("alice@example.test", "bob@example.test", "carol@example.test", "dave@example.test")
BODY_BYTES_MAX = 120_000


class Load:
    """`clients` submit, some mail comes from outside, until `stop` is set."""

    def __init__(self, organisation: Organisation, seed: int, pause_seconds: float) -> None:
        self.entries: list[Entry] = []
        self.client_errors: list[str] = []
        """What a client saw that no usual client tries again."""
        self._organisation = organisation
        self._random = random.Random(seed)
        self._pause_seconds = pause_seconds
        self.stop = asyncio.Event()

    async def run(self, clients: int) -> None:
        async with asyncio.TaskGroup() as group:
            for number in range(clients):
                group.create_task(self._client(self._organisation.user(USERS[number % len(USERS)])))
            group.create_task(self._outside())

    async def _client(self, user: User) -> None:
        while not self.stop.is_set():
            await self._submit(user, self._recipients())
            await asyncio.sleep(self._random.uniform(0, 2 * self._pause_seconds))

    async def _outside(self) -> None:
        while not self.stop.is_set():
            hub = self._random.choice(("hub-a", "hub-b"))
            to = self._random.sample(USERS, self._random.randint(1, 3))
            message, copies = self._message("stranger@elsewhere.example", to), self._copies(to)

            def send(hub: str = hub, to: list[str] = to, message: object = message) -> object:
                return self._organisation.send_from_outside(hub, "stranger@elsewhere.example", to, message)  # type: ignore[arg-type]

            answer = await self._answer(send)
            message_id = str(message["Message-ID"]).strip("<>")
            self.entries.append(Entry(message_id, "", copies, answer=answer, local=False))
            await asyncio.sleep(self._random.uniform(0, 4 * self._pause_seconds))

    async def _submit(self, user: User, to: list[str]) -> None:
        message = self._message(user.address, to)
        answer = await self._answer(lambda: user._send(message, user.address, to, (), ()))
        self.entries.append(
            Entry(
                str(message["Message-ID"]).strip("<>"),
                user.address,
                self._copies(to),
                tuple(address for address in to if address == FRIEND),
                tuple(address for address in to if address == NOBODY),
                answer,
            )
        )

    async def _answer(self, send: Callable[[], object]) -> Answer:
        try:
            await asyncio.to_thread(send)
        except smtplib.SMTPRecipientsRefused as error:
            self._note(*(code for code, _ in error.recipients.values()))
            return "refused"
        except smtplib.SMTPServerDisconnected:
            return "unknown"
        except smtplib.SMTPResponseException as error:
            self._note(error.smtp_code)
            # After the content even a refusal may follow a commit whose answer was lost inside.
            return "unknown"
        except (smtplib.SMTPException, OSError):
            return "unknown"
        return "accepted"

    def _note(self, *codes: int) -> None:
        self.client_errors += [str(code) for code in codes if code >= 500]

    def _recipients(self) -> list[str]:
        chance = self._random.random()
        if chance < 0.15:
            return [GROUP]
        if chance < 0.25:
            return [ALIAS, self._random.choice(USERS), GROUP]
        if chance < 0.32:
            return [FRIEND, self._random.choice(USERS)]
        if chance < 0.38:
            return [NOBODY, self._random.choice(USERS)]
        return self._random.sample(USERS, self._random.randint(1, 3))

    def _copies(self, to: list[str]) -> tuple[str, ...]:
        if GROUP in to:
            return USERS
        names = [ALIAS_OF if address == ALIAS else address for address in to]
        return tuple(dict.fromkeys(name for name in names if name in USERS))

    def _message(self, sender: str, to: list[str]) -> object:
        words = self._random.randint(3, 60 if self._random.random() < 0.9 else BODY_BYTES_MAX // 17)
        body = "\n".join(f"{self._random.getrandbits(60):016d}" for _ in range(words)) + "\n"
        message = compose(sender, *to, subject="Soak", body=body)
        message[DIGEST] = digest_of(body)
        return message
