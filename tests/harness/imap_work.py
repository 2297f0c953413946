"""Work at random on mailboxes, as people's mail programs do it side by side; all of it chosen by a seed."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from tests.harness.imap_client import Answer, Command, Gone, ImapClient
from tests.harness.imap_model import Belief, Broken

FLAGS = ("\\Seen", "\\Answered", "\\Flagged", "\\Deleted", "\\Draft", "$Work", "$Later")
FOLDERS = ("INBOX", "Side", "Temp")
"""`Temp` is created, renamed and deleted again and again."""
CROWDED = 60
"""Messages in a folder."""


@dataclass
class Shared:
    """What all workers know together: which message each UID is."""

    numbers: dict[tuple[int, int], int] = field(default_factory=dict)
    """(UIDVALIDITY, UID) to the number in the message."""
    last: int = 0
    done: dict[str, int] = field(default_factory=dict)
    """Commands by name."""

    def message(self, chance: random.Random) -> tuple[int, bytes]:
        self.last += 1
        body = "word " * chance.randrange(200)
        text = f"From: a@example.org\r\nSubject: {self.last}\r\nX-Number: {self.last}\r\n\r\n{body}\r\n"
        return self.last, text.encode()

    def learn(self, uid_validity: int, uid: int, number: int) -> None:
        known = self.numbers.setdefault((uid_validity, uid), number)
        if known != number:
            raise Broken(f"UID {uid} ({uid_validity}) is message {number}, it was {known}")


class Worker:
    def __init__(
        self,
        name: str,
        chance: random.Random,
        shared: Shared,
        connect: Callable[[str], Awaitable[ImapClient]],
    ) -> None:
        self.name = name
        self.client: ImapClient
        self._chance = chance
        self._shared = shared
        self._connect = connect
        self._works = (
            *((self._store, 6), (self._append, 5), (self._fetch, 5), (self._copy, 3), (self._move, 3)),
            *((self._expunge, 3), (self._search, 2), (self._noop, 2), (self._idle, 1), (self._several, 2)),
            *((self._select, 1), (self._leave, 0.4), (self._folders, 1), (self._log_on_again, 0.15)),
            *((self._store_unless_changed, 2), (self._fetch_changes, 1)),
        )

    async def start(self) -> None:
        self.client = await self._connect(self.name)
        if self._chance.random() < 0.5:
            await self.client.ok(b"ENABLE CONDSTORE")
        await self.client.select("INBOX")

    async def work(self, steps: int) -> None:
        """So many commands. A folder that the other one deleted ends the connection; a new one is made."""
        works, weights = zip(*self._works, strict=True)
        for _ in range(steps):
            [work] = self._chance.choices(works, weights)
            name = work.__name__.strip("_")
            self._shared.done[name] = self._shared.done.get(name, 0) + 1
            try:
                if self.client.belief is None:
                    await self._select()
                elif len(self.client.belief.messages) > CROWDED:
                    await self._thin_out()
                else:
                    await work()
            except Gone as gone:
                await self._start_again(gone)

    async def leave_what_is_gone(self) -> None:
        """The folder was deleted or renamed meanwhile: the server may end the connection, or keep it open."""
        try:
            await self.client.ok(b"NOOP")
            await self.client.ok(b"UNSELECT")
            self.client.left()
        except Gone as gone:
            await self._start_again(gone)

    async def _start_again(self, gone: Gone) -> None:
        if "NONEXISTENT" not in str(gone):
            raise Broken(f"{self.name} was thrown out: {gone}") from gone
        await self.client.close()
        await self.start()

    # --- what the commands speak of ---

    @property
    def _belief(self) -> Belief:
        assert self.client.belief is not None
        return self.client.belief

    def _some(self) -> tuple[bytes, bytes, list[int]]:
        """`UID ` or nothing, a set, and the message numbers it means; an empty set: there are no messages."""
        count = len(self._belief.messages)
        if not count:
            return b"", b"", []
        numbers = sorted(
            self._chance.sample(range(1, count + 1), min(count, self._chance.choice((1, 1, 2, 5))))
        )
        if self._chance.random() < 0.15:
            numbers = list(range(numbers[0], count + 1))
            if self._chance.random() < 0.5:
                return b"", b"%d:*" % numbers[0], numbers
        if self._chance.random() < 0.6:
            uids = [self._belief.messages[number - 1].uid for number in numbers]
            known = [uid for uid in uids if uid is not None]
            if len(known) == len(uids):
                return b"UID ", b",".join(b"%d" % uid for uid in known), numbers
        return b"", b",".join(b"%d" % number for number in numbers), numbers

    def _folder(self) -> bytes:
        return self._chance.choice(FOLDERS[:2] if self._chance.random() < 0.9 else FOLDERS).encode()

    # --- commands ---

    async def _append(self) -> None:
        number, content = self._shared.message(self._chance)
        flags = " ".join(self._chance.sample(FLAGS, self._chance.randrange(3))).encode()
        answer = await self.client.ask(b"APPEND %b (%b)" % (self._folder(), flags), content)
        if answer.status == "OK":
            _, validity, uid = answer.code.split()
            self._shared.learn(int(validity), int(uid), number)
        else:
            self._may_fail(answer, "TRYCREATE")

    async def _store(self) -> None:
        uid, chosen, numbers = self._some()
        if not chosen:
            return
        flags = frozenset(self._chance.sample(FLAGS, self._chance.choice((1, 1, 2))))
        operation = self._chance.choice("+-+- ").strip()
        silent = self._chance.random() < 0.5
        text = b"%bSTORE %b %bFLAGS%b (%b)" % (
            *(uid, chosen, operation.encode(), b".SILENT" * silent),
            " ".join(sorted(flags)).encode(),
        )
        held = [self._belief.messages[number - 1] for number in numbers]
        if silent:
            self._belief.stored(numbers, operation, flags)
        answer = await self.client.ask(text)
        if answer.status != "OK":
            self._may_fail(answer, "EXPUNGEISSUED")
            for message in held:
                message.flags = None

    async def _store_unless_changed(self) -> None:
        """RFC 7162 3.1.3: what changed since is left alone, and named."""
        uids = [message.uid for message in self._belief.messages if message.uid is not None]
        if not uids:
            return
        wanted = sorted(self._chance.sample(uids, min(len(uids), 3)))
        known = self._belief.modseqs()
        since = self._chance.choice((max(known.values(), default=1), self._chance.randrange(1, 2000)))
        flag = self._chance.choice(FLAGS)
        answer = await self.client.ask(
            b"UID STORE %b (UNCHANGEDSINCE %d) +FLAGS (%b)"
            % (b",".join(b"%d" % uid for uid in wanted), since, flag.encode())
        )
        self._may_fail(answer)
        refused = set(_numbers(answer.code.split(" ")[1])) if answer.code.startswith("MODIFIED") else set()
        if not refused <= set(wanted):
            raise Broken(f"MODIFIED names {refused} of {wanted}")
        # The other one may have taken it away again since: then both are told, one after the other.
        told = {
            int(items[b"UID"])
            for _, items in self.client.fetched
            if b"UID" in items and flag.encode() in items.get(b"FLAGS", ())
        }
        for uid, flags in self._belief.flags().items():
            if uid in wanted and uid not in refused | told and flags is not None and flag not in flags:
                raise Broken(f"UID {uid} was stored unless changed, and has not got {flag}: {flags}")

    async def _fetch_changes(self) -> None:
        """RFC 7162 3.1.4.1: of all that changed since, and of nothing else."""
        since = self._chance.choice((1, *self._belief.modseqs().values()))
        await self.client.ok(b"UID FETCH 1:* (FLAGS) (CHANGEDSINCE %d)" % max(since, 1))
        for number, items in self.client.fetched:
            if int(items[b"MODSEQ"][0]) <= since:
                raise Broken(f"message {number} is told as changed since {since}: {items}")

    async def _fetch(self) -> None:
        uid, chosen, _ = self._some()
        items = self._chance.choice(
            (
                b"FLAGS",
                b"(UID FLAGS)",
                b"(UID MODSEQ)",
                b"(ENVELOPE UID)",
                b"(UID FLAGS BODY[HEADER.FIELDS (X-NUMBER)])",
                b"(UID RFC822.SIZE BODY.PEEK[TEXT])",
            )
        )
        if chosen:
            answer = await self.client.ask(b"%bFETCH %b %b" % (uid, chosen, items))
            self._learn_numbers()
            self._may_fail(answer, "EXPUNGEISSUED")

    def _learn_numbers(self) -> None:
        for number, found in self.client.fetched:
            header = found.get(b"BODY[HEADER.FIELDS (X-NUMBER)]")
            uid = self._belief.messages[number - 1].uid if number <= len(self._belief.messages) else None
            if header and b"UID" in found and uid == int(found[b"UID"]):
                self._shared.learn(self._belief.uid_validity, uid, int(header.split()[1]))

    async def _copy(self, verb: bytes = b"COPY") -> None:
        uid, chosen, numbers = self._some()
        if not chosen or (len(numbers) > 5 and len(self._belief.messages) > CROWDED):
            return
        validity = self._belief.uid_validity
        answer = await self.client.ask(b"%b%b %b %b" % (uid, verb, chosen, self._folder()))
        self._may_fail(answer, "EXPUNGEISSUED", "TRYCREATE")
        codes = [answer.code, *(line.decode() for line in answer.untagged if b"[COPYUID" in line)]
        for code in codes:
            if "COPYUID" in code:
                self._learn_copies(validity, code[code.index("COPYUID") :].partition("]")[0])

    def _learn_copies(self, validity: int, code: str) -> None:
        _, target, sources, targets = code.split()
        pairs = list(zip(_numbers(sources), _numbers(targets), strict=True))
        for source, copied in pairs:
            if (number := self._shared.numbers.get((validity, source))) is not None:
                self._shared.learn(int(target), copied, number)

    async def _move(self) -> None:
        await self._copy(b"MOVE")

    async def _expunge(self) -> None:
        uids = [message.uid for message in self._belief.messages if message.uid is not None]
        if uids and self._chance.random() < 0.5:
            low, high = sorted((self._chance.choice(uids), self._chance.choice(uids)))
            await self.client.ok(b"UID EXPUNGE %d:%d" % (low, high))
        else:
            await self.client.ok(b"EXPUNGE")

    async def _thin_out(self) -> None:
        """Folders stay small, so that the two meet on the same messages."""
        count = len(self._belief.messages)
        low = self._chance.randrange(1, count - CROWDED // 2)
        answer = await self.client.ask(b"STORE %d:%d +FLAGS (\\Deleted)" % (low, low + CROWDED // 2))
        self._may_fail(answer, "EXPUNGEISSUED")
        await self.client.ok(b"EXPUNGE")

    async def _search(self) -> None:
        uid = self._chance.choice((b"", b"UID "))
        key = self._chance.choice((b"ALL", b"DELETED", b"KEYWORD $Work", b"UNSEEN", b"SUBJECT 1", b"1:*"))
        answer = await self.client.ok(b"%bSEARCH %b" % (uid, key))
        found = [int(n) for line in answer.untagged if line.startswith(b"* SEARCH") for n in line.split()[2:]]
        if not uid and found and max(found) > len(self._belief.messages):
            raise Broken(f"SEARCH names message {max(found)} of {len(self._belief.messages)}")

    async def _noop(self) -> None:
        await self.client.ok(self._chance.choice((b"NOOP", b"CHECK")))

    async def _idle(self) -> None:
        await self.client.idle(lambda: False, self._chance.uniform(0, 0.05))

    async def _several(self) -> None:
        """Commands sent without waiting in between (RFC 3501 5.5), by UID, so that none is ambiguous."""
        uids = [message.uid for message in self._belief.messages if message.uid is not None]
        commands = [Command(b"NOOP")]
        for _ in range(self._chance.randrange(1, 5) if uids else 0):
            uid, flag = self._chance.choice(uids), self._chance.choice(FLAGS).encode()
            commands.append(
                self._chance.choice(
                    (
                        Command(b"UID STORE %d +FLAGS (%b)" % (uid, flag)),
                        Command(b"UID FETCH %d (FLAGS BODY[HEADER])" % uid),
                        Command(b"UID EXPUNGE %d" % uid),
                        Command(b"NOOP"),
                    )
                )
            )
        for answer in await self.client.pipeline(*commands):
            self._may_fail(answer)

    async def _select(self) -> None:
        await self.client.select(self._folder().decode())

    async def _leave(self) -> None:
        text = self._chance.choice((b"CLOSE", b"UNSELECT"))
        await self.client.ok(text)
        self.client.left()

    async def _folders(self) -> None:
        text = self._chance.choice((b"CREATE Temp", b"DELETE Temp", b"RENAME Temp Other", b"DELETE Other"))
        answer = await self.client.ask(text)
        self._may_fail(answer, "NONEXISTENT", "ALREADYEXISTS")

    async def _log_on_again(self) -> None:
        try:
            await self.client.ask(b"LOGOUT")
        except Gone:
            await self.client.close()
            await self.start()

    def _may_fail(self, answer: Answer, *codes: str) -> None:
        if answer.status != "OK" and answer.code.split(" ")[0] not in codes:
            raise Broken(f"{self.name} was refused: {answer.text!r}")


def _numbers(chosen: str) -> list[int]:
    """A set of numbers in its own order."""
    found: list[int] = []
    for part in chosen.split(","):
        first, _, last = part.partition(":")
        found.extend(range(int(first), int(last or first) + 1))
    return found
