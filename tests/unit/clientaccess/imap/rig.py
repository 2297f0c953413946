"""A mailbox store in memory, and a client that talks in lines: for the IMAP session's own tests."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from clientaccess.imap.connection import ImapOptions, ImapServer
from config.model import Limits
from foundation.interfaces import mailbox_store as m
from foundation.interfaces.directory import Credentials, DirectoryRecipient
from foundation.interfaces.world import World
from foundation.mail.errors import MailError
from foundation.mail.listed_fields import LISTED
from foundation.mail.mime import encode_parts, scan
from foundation.mail.rendering import summarise
from foundation.world.clock import SystemClock
from foundation.world.entropy import SystemEntropy

DAY = 1_700_000_000_000


@dataclass
class Message:
    uid: int
    content: bytes
    flags: int
    keywords: tuple[str, ...]
    modseq: int
    date_ms: int
    offset: int


@dataclass
class Box:
    folder_id: str
    name: str
    role: m.Role = ""
    uid_validity: int = 1
    uid_next: int = 1
    modseq: int = 1
    recent_from: int = 1
    selectable: bool = True
    messages: dict[int, Message] = field(default_factory=dict)
    tombs: dict[int, int] = field(default_factory=dict)


class MemoryStore:
    """One mailbox. `failure`: what the next call raises."""

    def __init__(self) -> None:
        self.boxes: dict[str, Box] = {}
        self.dead: set[str] = set()
        self.names_subscribed: set[str] = set()
        self.watchers: list[asyncio.Queue[m.Notice | Exception]] = []
        self.failure: Exception | None = None
        self.validity = 100
        self.appended_bytes = 0
        self.calls: list[str] = []
        for name, role in (("INBOX", "inbox"), ("Outbox", "outbox"), ("Sent", "sent"), ("Trash", "trash")):
            self._make(name, role)  # type: ignore[arg-type]

    def _make(self, name: str, role: m.Role = "") -> Box:
        self.validity += 1
        box = Box(f"id-{self.validity}", name, role, self.validity)
        self.boxes[name] = box
        return box

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.failure is not None:
            failure, self.failure = self.failure, None
            raise failure

    def _notify(self, box: Box | None) -> None:
        notice = m.Notice(folder_id=box.folder_id, highest_modseq=box.modseq) if box else m.Notice()
        for queue in self.watchers:
            queue.put_nowait(notice)

    def _box(self, folder_id: str) -> Box:
        for box in self.boxes.values():
            if box.folder_id == folder_id:
                return box
        raise m.Refusal("NONEXISTENT", "There is no such folder")

    def deliver(
        self, content: bytes, name: str = "INBOX", flags: int = 0, keywords: tuple[str, ...] = ()
    ) -> int:
        box = self.boxes[name]
        box.modseq += 1
        uid, box.uid_next = box.uid_next, box.uid_next + 1
        box.messages[uid] = Message(uid, content, flags, keywords, box.modseq, DAY + uid * 1000, 60)
        self._notify(box)
        return uid

    def remove(self, uid: int, name: str = "INBOX") -> None:
        box = self.boxes[name]
        box.modseq += 1
        del box.messages[uid]
        box.tombs[uid] = box.modseq
        self._notify(box)

    def mark(self, uid: int, flags: int, name: str = "INBOX") -> None:
        box = self.boxes[name]
        box.modseq += 1
        box.messages[uid].flags = flags
        box.messages[uid].modseq = box.modseq
        self._notify(box)

    # --- MailboxStore ---

    async def submit(self, submission: m.Submission, content: AsyncIterator[bytes]) -> None:
        raise NotImplementedError

    def _folder(self, box: Box) -> m.Folder:
        messages = box.messages.values()
        return m.Folder(
            folder_id=box.folder_id,
            name=box.name,
            role=box.role,
            selectable=box.selectable,
            uid_validity=box.uid_validity,
            uid_next=box.uid_next,
            highest_modseq=box.modseq,
            messages=len(messages),
            unseen=sum(1 for message in messages if not message.flags & m.SEEN),
            deleted=sum(1 for message in messages if message.flags & m.DELETED),
            size_bytes=sum(len(message.content) for message in messages),
            first_recent_uid=box.recent_from if box.recent_from < box.uid_next else 0,
        )

    async def folders(self, mailbox_id: str) -> tuple[m.Folder, ...]:
        self._call("folders")
        return tuple(self._folder(box) for _, box in sorted(self.boxes.items()))

    async def folder(self, mailbox_id: str, name: str) -> m.Folder:
        self._call("folder")
        if name not in self.boxes:
            raise m.Refusal("NONEXISTENT", "There is no such folder")
        return self._folder(self.boxes[name])

    async def select(self, mailbox_id: str, name: str, read_only: bool) -> m.Folder:
        folder = await self.folder(mailbox_id, name)
        if not read_only:
            self.boxes[name].recent_from = folder.uid_next
        return folder

    async def create_folder(self, mailbox_id: str, name: str, role: m.Role = "") -> m.Folder:
        self._call("create")
        if name in self.boxes:
            raise m.Refusal("ALREADYEXISTS", "There is one of that name")
        for end in [index for index, letter in enumerate(name) if letter == "/"]:
            if name[:end] not in self.boxes:
                self._make(name[:end])
        return self._folder(self._make(name, role))

    async def delete_folder(self, mailbox_id: str, name: str) -> None:
        self._call("delete")
        if name not in self.boxes:
            raise m.Refusal("NONEXISTENT", "There is no such folder")
        if name in ("INBOX", "Outbox"):
            raise m.Refusal("CANNOT", "Not this one")
        self.dead.add(self.boxes[name].folder_id)
        if any(other.startswith(name + "/") for other in self.boxes):
            self.boxes[name] = Box(name + "-gone", name, selectable=False)
        else:
            del self.boxes[name]
        self._notify(None)

    async def rename_folder(self, mailbox_id: str, name: str, new_name: str) -> None:
        self._call("rename")
        if name not in self.boxes:
            raise m.Refusal("NONEXISTENT", "There is no such folder")
        for old in [old for old in self.boxes if old == name or old.startswith(name + "/")]:
            box = self.boxes.pop(old)
            box.name = new_name + old[len(name) :]
            self.boxes[box.name] = box

    async def set_subscribed(self, mailbox_id: str, name: str, subscribed: bool) -> None:
        self._call("subscribe")
        (self.names_subscribed.add if subscribed else self.names_subscribed.discard)(name)

    async def subscriptions(self, mailbox_id: str) -> tuple[str, ...]:
        return tuple(sorted(self.names_subscribed))

    def _entry(self, message: Message) -> m.FlagEntry:
        return m.FlagEntry(message.uid, message.flags, message.modseq, message.keywords)

    async def flags(self, mailbox_id: str, folder_id: str) -> AsyncIterator[m.FlagColumns]:
        entries = [self._entry(message) for _, message in sorted(self._box(folder_id).messages.items())]
        for start in range(0, len(entries), 100):
            part = entries[start : start + 100]
            yield m.FlagColumns(
                tuple(entry.uid for entry in part),
                bytes(entry.flags for entry in part),
                tuple(entry.modseq for entry in part),
                {entry.uid: entry.keywords for entry in part if entry.keywords},
            )

    async def changes(self, mailbox_id: str, folder_id: str, since_modseq: int) -> m.Changes:
        self._call("changes")
        if folder_id in self.dead:
            return m.Changes(highest_modseq=0, uid_next=1, gone=True)
        box = self._box(folder_id)
        return m.Changes(
            highest_modseq=box.modseq,
            uid_next=box.uid_next,
            expunged=tuple(uid for uid, modseq in box.tombs.items() if modseq > since_modseq),
            updated=tuple(self._entry(x) for x in box.messages.values() if x.modseq > since_modseq),
        )

    def _chosen(self, folder_id: str, uids: m.Ranges) -> list[Message]:
        found = sorted(self._box(folder_id).messages.items())
        return [message for uid, message in found if any(low <= uid <= high for low, high in uids)]

    async def records(
        self, mailbox_id: str, folder_id: str, uids: m.Ranges, fields: m.Fields
    ) -> AsyncIterator[tuple[m.Record, ...]]:
        self._call("records")
        records = [self._record(message, fields) for message in self._chosen(folder_id, uids)]
        for start in range(0, len(records), 100):
            yield tuple(records[start : start + 100])

    async def columns(
        self,
        mailbox_id: str,
        folder_id: str,
        uids: m.Ranges,
        columns: tuple[m.Column, ...],
        names: tuple[bytes, ...] = (),
    ) -> AsyncIterator[m.Columns]:
        self._call("columns")
        chosen = self._chosen(folder_id, uids)
        for start in range(0, len(chosen), 100):
            rows = [self._row(message, columns, names) for message in chosen[start : start + 100]]
            found = tuple(message.uid for message in chosen[start : start + 100])
            yield m.Columns(found, tuple(zip(*rows, strict=True)))

    def _row(
        self, message: Message, columns: tuple[m.Column, ...], names: tuple[bytes, ...]
    ) -> list[bytes | int | None]:
        record = self._record(message, m.Fields(envelope=True, body_structure=True))
        listed = summarise(message.content).listed.fields if LISTED.issuperset(names) else b""
        small = len(message.content) <= m.CONTENT_IN_COLUMN_BYTES
        values = {"header_fields": listed or None, "content": message.content if small else None}
        for name in ("email_id", "thread_id"):
            values[name] = getattr(record, name).encode()
        return [values[name] if name in values else getattr(record, name) for name in columns]

    def _record(self, message: Message, fields: m.Fields) -> m.Record:
        summary = summarise(message.content)
        root = scan(message.content).part
        content = message.content if len(message.content) <= fields.content_up_to_bytes else None
        return m.Record(
            uid=message.uid,
            modseq=message.modseq,
            flags=message.flags,
            keywords=message.keywords,
            internal_date_ms=message.date_ms,
            internal_offset_minutes=message.offset,
            save_date_ms=message.date_ms,
            size_bytes=len(message.content),
            email_id=f"E{message.uid}",
            thread_id=f"T{message.uid}",
            envelope=summary.envelope if fields.envelope else b"",
            body_structure=summary.body_structure if fields.body_structure else b"",
            parts=encode_parts(root) if fields.parts else b"",
            header=message.content[: root.body_start] if fields.header else b"",
            content=content,
        )

    async def content(
        self, mailbox_id: str, folder_id: str, uid: int, offset: int, length: int
    ) -> AsyncIterator[bytes]:
        self._call("content")
        message = self._box(folder_id).messages.get(uid)
        if message is None:
            raise m.Refusal("EXPUNGED", "The message is gone")
        wanted = message.content[offset : offset + length]
        for start in range(0, len(wanted), 65536):
            yield wanted[start : start + 65536]

    async def change_flags(
        self, mailbox_id: str, folder_id: str, uids: m.Ranges, change: m.FlagChange
    ) -> m.FlagOutcome:
        self._call("change_flags")
        box = self._box(folder_id)
        updated, refused = [], []
        for message in self._chosen(folder_id, uids):
            if change.unchanged_since is not None and message.modseq > change.unchanged_since:
                refused.append(message.uid)
                continue
            before = (message.flags, message.keywords)
            words = dict.fromkeys(message.keywords)
            if change.operation == "add":
                message.flags |= change.flags
                words |= dict.fromkeys(change.keywords)
            elif change.operation == "remove":
                message.flags &= ~change.flags
                words = {word: None for word in words if word not in change.keywords}
            else:
                message.flags, words = change.flags, dict.fromkeys(change.keywords)
            message.keywords = tuple(words)
            if (message.flags, message.keywords) != before:
                box.modseq += 1
                message.modseq = box.modseq
            updated.append(self._entry(message))
        self._notify(box)
        return m.FlagOutcome(updated=tuple(updated), refused=tuple(refused), highest_modseq=box.modseq)

    async def append(
        self,
        mailbox_id: str,
        name: str,
        flags: int,
        keywords: tuple[str, ...],
        internal_date_ms: int,
        internal_offset_minutes: int,
        content: AsyncIterator[bytes],
    ) -> m.Appended:
        self._call("append")
        if name not in self.boxes:
            raise m.Refusal("TRYCREATE", "There is no such folder")
        pieces = []
        async for piece in content:
            self.appended_bytes += len(piece)
            pieces.append(piece)
        uid = self.deliver(b"".join(pieces), name, flags, keywords)
        message = self.boxes[name].messages[uid]
        if internal_date_ms:
            message.date_ms, message.offset = internal_date_ms, internal_offset_minutes
        return m.Appended(uid_validity=self.boxes[name].uid_validity, uid=uid)

    async def copy(self, mailbox_id: str, folder_id: str, uids: m.Ranges, target: str) -> m.Copied:
        self._call("copy")
        if target not in self.boxes:
            raise m.Refusal("TRYCREATE", "There is no such folder")
        sources = self._chosen(folder_id, uids)
        targets = [self.deliver(x.content, target, x.flags, x.keywords) for x in sources]
        return m.Copied(
            uid_validity=self.boxes[target].uid_validity,
            source_uids=tuple(message.uid for message in sources),
            target_uids=tuple(targets),
        )

    async def move(self, mailbox_id: str, folder_id: str, uids: m.Ranges, target: str) -> m.Copied:
        copied = await self.copy(mailbox_id, folder_id, uids, target)
        for uid in copied.source_uids:
            self.remove(uid, self._box(folder_id).name)
        return copied

    async def expunge(
        self, mailbox_id: str, folder_id: str, uids: m.Ranges | None, deleted_only: bool = True
    ) -> tuple[int, ...]:
        self._call("expunge")
        ranges = ((1, 0xFFFFFFFF),) if uids is None else uids
        gone = [x.uid for x in self._chosen(folder_id, ranges) if x.flags & m.DELETED]
        for uid in gone:
            self.remove(uid, self._box(folder_id).name)
        return tuple(gone)

    async def search(self, mailbox_id: str, folder_id: str, key: m.Key) -> tuple[int, ...]:
        self._call("search")
        return tuple(x.uid for x in self._chosen(folder_id, ((1, 0xFFFFFFFF),)) if _holds(key, x))

    async def watch(self, mailbox_id: str) -> AsyncIterator[m.Notice]:
        queue: asyncio.Queue[m.Notice | Exception] = asyncio.Queue()
        self.watchers.append(queue)
        try:
            yield m.Notice()
            while True:
                notice = await queue.get()
                if isinstance(notice, Exception):
                    raise notice
                yield notice
        finally:
            self.watchers.remove(queue)


def _holds(key: m.Key, message: Message) -> bool:
    text = message.content.decode("utf-8", "replace").lower()
    header, _, body = text.partition("\r\n\r\n")
    match key:
        case m.And():
            return all(_holds(inner, message) for inner in key.keys)
        case m.Or():
            return any(_holds(inner, message) for inner in key.keys)
        case m.Not():
            return not _holds(key.key, message)
        case m.HasFlag():
            return bool(message.flags & key.flag)
        case m.HasKeyword():
            return key.keyword in message.keywords
        case m.InUids():
            return any(low <= message.uid <= high for low, high in key.ranges)
        case m.HeaderContains():
            found = re.findall(rf"(?m)^{re.escape(key.name.lower())}:(.*)$", header)
            return any(key.text.lower() in value for value in found)
        case m.BodyContains():
            return key.text.lower() in body
        case m.TextContains():
            return key.text.lower() in text
        case m.SizeIs():
            size = len(message.content)
            return size > key.size_bytes if key.comparison == "larger" else size < key.size_bytes
        case m.ModseqFrom():
            return message.modseq >= key.modseq
        case m.IdIs():
            return key.identifier == f"{key.which[0].upper()}{message.uid}"
        case m.Everything():
            return True
    raise AssertionError(key)


class OnePassword:
    """alice's password is `secret`."""

    async def password(self, login: str, password: str, peer: str) -> Credentials:
        if login == "away":
            raise MailError(454, "4.7.0", "Can't be checked now")
        if (login, password) != ("alice", "secret"):
            raise MailError(535, "5.7.8", "Wrong login or password")
        user = DirectoryRecipient(
            recipient_id="u1", kind="user", address="alice@example.com", mailbox_id="m1", store="store"
        )
        return Credentials(user=user, password_hash="", addresses=("alice@example.com",))


def a_world() -> World:
    return World(
        clock=SystemClock(),
        entropy=SystemEntropy(),
        disk=None,  # type: ignore[arg-type]
        resolver=None,  # type: ignore[arg-type]
        executor=None,  # type: ignore[arg-type]
    )


def a_server(store: m.MailboxStore, **changes: object) -> ImapServer:
    values: dict[str, object] = {
        "hostname": "mail.example.com",
        "tls": None,
        "limits": Limits(),
        "plain_logon": True,
        "version": "1",
    }
    options = ImapOptions(**(values | changes))  # type: ignore[arg-type]
    return ImapServer(options, OnePassword(), lambda credentials: store, a_world())


class Talk:
    """A client of lines and literals over a real socket."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.count = 0

    @classmethod
    async def open(cls, port: int, logon: bool = True, select: str = "") -> Talk:
        talk = cls(*await asyncio.open_connection("127.0.0.1", port, limit=1 << 26))
        await talk.response()
        if logon:
            assert (await talk.ask("LOGIN alice secret"))[-1].startswith(b"t1 OK")
        if select:
            await talk.ask(f"SELECT {select}")
        return talk

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def response(self) -> bytes:
        """One response with its literals, without the last line end; empty at the connection's end."""
        async with asyncio.timeout(10):
            whole = b""
            while True:
                line = await self.reader.readline()
                whole += line
                literal = re.search(rb"\{(\d+)\}\r\n$", line)
                if literal is None:
                    return whole.removesuffix(b"\r\n")
                whole += await self.reader.readexactly(int(literal.group(1)))

    async def until(self, tag: bytes) -> list[bytes]:
        responses = []
        while True:
            response = await self.response()
            responses.append(response)
            if not response or response.startswith(tag + b" "):
                return responses

    async def ask(self, command: str | bytes) -> list[bytes]:
        """Sends a command, gives all responses up to its tagged one."""
        self.count += 1
        tag = b"t%d" % self.count
        self.send(tag + b" " + (command.encode() if isinstance(command, str) else command) + b"\r\n")
        return await self.until(tag)

    def close(self) -> None:
        self.writer.close()
