"""What is fuzzed: each target takes any octets, as a peer may send them, and checks what must hold for all.

A target returns what became of the input, in short: an input with a new outcome is worth changing further.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Hashable
from functools import partial
from typing import NamedTuple

import msgspec

from clientaccess.imap import fragments as f
from clientaccess.imap.names import InvalidName, encode_utf7, matches, new_name
from clientaccess.imap.parser import BadCharset, parse, parse_append, plain_response
from clientaccess.imap.scanner import Malformed
from foundation.interfaces.authentication import Authentication
from foundation.interfaces.control import Control
from foundation.interfaces.explanation import Explains
from foundation.interfaces.holdings import Holdings
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.mail import headers
from foundation.mail.address import address_key, domain_key, valid_address
from foundation.mail.address_list import parse_addresses
from foundation.mail.decoding import decode_header
from foundation.mail.errors import MailError
from foundation.mail.imap_envelope import render_envelope
from foundation.mail.mime import Part, decode_parts, find_part, scan, searchable_texts
from foundation.mail.rendering import base_subject, parse_date, render_body_structure, summarise
from foundation.mail.xtext import decode_xtext, encode_xtext, valid_xtext
from foundation.rpc.errors import from_failure
from foundation.rpc.frames import Call, Failure, Frame, FrameError, FrameReader, Item, Reply, encode
from foundation.rpc.methods import Method, methods_of
from foundation.smtp.command import encode_mail, encode_rcpt, parse_mail, parse_rcpt, split_command
from foundation.smtp.content import BareNewlines, DataReader, DataWriter, TextGuard, parse_bdat
from foundation.smtp.lines import InputBuffer, LineTooLong
from foundation.smtp.reply import ReplyError, ReplyReader
from foundation.smtp.sasl import decode_response, parse_plain
from tests.fuzz import words

EXTENSIONS = frozenset({"SIZE", "8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "AUTH", "REQUIRETLS"})
FEATURES = dict.fromkeys((*sorted(EXTENSIONS), "XWAYPOST"), "")
RPC_LIMIT_BYTES = 1 << 20
LITERALS_MAX = 65536
MESSAGE_MAX = 100_000


class Target(NamedTuple):
    run: Callable[[bytes], Hashable]
    words: tuple[bytes, ...]
    """What the grammar is made of."""


def cut(data: bytes) -> list[bytes]:
    """The reads that the input comes in: few, at places that the input itself decides."""
    places = sorted({(byte * 257 + place) % (len(data) + 1) for place, byte in enumerate(data[:3])})
    bounds = [0, *places, len(data)]
    return [data[start:end] for start, end in itertools.pairwise(bounds)]


# --- SMTP


def smtp(data: bytes) -> Hashable:
    """A server's side: lines and their commands, content of DATA; a client's side: replies."""
    lines = _lines([data])
    assert _lines(cut(data)) == lines
    return (
        tuple(dict.fromkeys(_command(line) for line in lines[:50])),
        _content(data, "refuse", 0),
        _content(data, "normalise", 100),
        _content(data, "keep", 0),
        _replies(data),
    )


def _lines(pieces: list[bytes]) -> list[bytes | None]:
    buffer = InputBuffer()
    found: list[bytes | None] = []
    for piece in pieces:
        buffer.feed(piece)
        while True:
            try:
                line = buffer.next_line()
            except LineTooLong:
                found.append(None)
                continue
            if line is None:
                break
            found.append(line)
    return found


def _command(line: bytes | None) -> Hashable:
    if line is None:
        return "too long"
    try:
        verb, argument = split_command(line.rstrip(b"\r\n"))
        if verb == "MAIL":
            return verb, _mail(argument, private=False), _mail(argument, private=True)
        if verb == "RCPT":
            return verb, _rcpt(argument, private=False), _rcpt(argument, private=True)
        if verb == "BDAT":
            return verb, parse_bdat(argument)[1]
        if verb == "AUTH":
            return verb, len(parse_plain(decode_response(argument.partition(b" ")[2]))[0]) > 0
    except MailError as error:
        assert error.permanent and 500 <= error.code <= 599
        return error.sentence[:40]
    return ""


def _mail(argument: bytes, *, private: bool) -> Hashable:
    try:
        mail = parse_mail(argument, announced=EXTENSIONS, private=private)
    except MailError as error:
        assert error.permanent
        return error.sentence[:40]
    line = encode_mail(mail.sender, mail.transfer, FEATURES, size_bytes=mail.sender.size_bytes)
    again = parse_mail(split_command(line[:-2])[1], announced=EXTENSIONS, private=private)
    assert (again.sender, again.transfer) == (mail.sender, mail.transfer)
    return bool(mail.sender.address), mail.transfer is not None


def _rcpt(argument: bytes, *, private: bool) -> Hashable:
    try:
        recipient = parse_rcpt(argument, announced=EXTENSIONS, private=private, smtputf8=True)
    except MailError as error:
        assert error.permanent
        return error.sentence[:40]
    line = encode_rcpt(recipient, FEATURES, smtputf8=True)
    argument = split_command(line[:-2])[1]
    assert parse_rcpt(argument, announced=EXTENSIONS, private=private, smtputf8=True) == recipient
    return bool(recipient.notify), bool(recipient.orcpt)


def _content(data: bytes, policy: BareNewlines, limit: int) -> Hashable:
    content, rest, problem = _read(data=[data], policy=policy, limit=limit)
    assert _read(data=cut(data), policy=policy, limit=limit) == (content, rest, problem)
    end = (b"\r\n" + data).find(b"\r\n.\r\n")
    assert rest == (None if end < 0 else data[end + 3 :])  # nothing else ever ends the content
    if policy == "normalise" or (policy == "refuse" and not problem):
        assert content.count(b"\r") == content.count(b"\n") == content.count(b"\r\n")
    if rest is not None and policy == "normalise":
        writer = DataWriter()
        wire = b"".join(map(writer.feed, cut(content))) + writer.finish()
        assert _read(data=[wire], policy="refuse", limit=0) == (content, b"", "")
    return rest is not None, problem


def _read(data: list[bytes], policy: BareNewlines, limit: int) -> tuple[bytes, bytes | None, str]:
    guard = TextGuard(policy, limit)
    reader = DataReader(guard)
    content, rest = b"", None
    for piece in data:
        if rest is None:
            content += reader.feed(piece)
            rest = reader.rest if reader.finished else None
        else:
            rest += piece
    if rest is None:
        content += guard.finish()
    return content, rest, guard.problem.status if guard.problem else ""


def _replies(data: bytes) -> Hashable:
    try:
        replies = ReplyReader().feed(data)
    except ReplyError as error:
        return str(error)[:12]
    for reply in replies:
        reader = ReplyReader()
        (again,) = reader.feed(reply.encode())
        assert again.code == reply.code and reader.idle
    return min(len(replies), 3)


# --- IMAP


def imap(data: bytes) -> Hashable:
    """A server's side: octets to commands with literals, and their grammar."""
    events = _events([data])
    assert _events(cut(data)) == events
    outcome: dict[Hashable, None] = {}
    for event in events[:50]:
        if isinstance(event, f.Whole | f.MessageStart):
            for utf8 in (False, True):
                outcome[_parsed(event, utf8)] = None
        else:
            outcome[type(event).__name__, getattr(event, "sentence", "")] = None
    for line in data.split(b"\r\n", 3)[:3]:
        _name(line[:2000])
    return tuple(outcome)


def _events(pieces: list[bytes]) -> list[f.Event]:
    fragments = f.Fragments(LITERALS_MAX)
    events: list[f.Event] = []
    for piece in pieces:
        fragments.feed(piece)
        while (event := fragments.next_event()) is not None:
            if isinstance(event, f.MessageStart):
                if event.size_bytes > MESSAGE_MAX:
                    fragments.refuse()
                else:
                    fragments.accept()
            if isinstance(event, f.MessageData) and isinstance(last := events[-1], f.MessageData):
                events.pop()
                event = f.MessageData(last.data + event.data)
            events.append(event)
            if isinstance(event, f.Bad) and event.fatal:
                return events
        assert fragments.buffered_bytes <= f.LINE_BYTES_MAX + LITERALS_MAX + 2
    return events


def _parsed(event: f.Whole | f.MessageStart, utf8: bool) -> Hashable:
    parser = parse if isinstance(event, f.Whole) else parse_append
    try:
        return type(parser(event.text, event.literals, utf8).command).__name__
    except Malformed as error:
        return error.sentence[:40]
    except BadCharset:
        return "charset"


def _name(raw: bytes) -> None:
    for utf8 in (False, True):
        try:
            name = new_name(raw, utf8)
        except InvalidName:
            continue
        assert new_name(encode_utf7(name), utf8=False) == name
        assert matches(name, name)
    try:
        plain_response(raw)
    except Malformed:
        return


# --- Addresses


def address(data: bytes) -> Hashable:
    """Addresses alone, lists of them in header fields, and the fields themselves."""
    text = data.decode("utf-8", "surrogateescape")
    valid = valid_address(text, smtputf8=False)
    international = valid_address(text, smtputf8=True)
    if valid:
        assert international and text.isascii()
    if international:
        assert text.isprintable() or not text.isascii()
        assert not set(text) & set("\r\n\0")
    address_key(text)
    domain_key(text)
    if valid_xtext(text):
        decode_xtext(text)
    written = encode_xtext(data.decode("utf-8", "replace"))
    assert valid_xtext(written) and decode_xtext(written) == data.decode("utf-8", "replace")
    mailboxes = parse_addresses(data)
    return (
        valid,
        international,
        _header(data),
        tuple(
            tuple(None if field is None else bool(field) for field in mailbox) for mailbox in mailboxes[:4]
        ),
    )


def _header(data: bytes) -> Hashable:
    names = frozenset({b"from", b"to", b"subject"})
    found = list(itertools.islice(headers.find_fields(data, 0, headers.header_block(data)), 1000))
    assert all(field.start < field.value_start <= field.end <= len(data) for field in found)
    chosen, others = headers.select_fields(data, names, False), headers.select_fields(data, names, True)
    assert len(chosen) + len(others) <= len(data) + 8 + 2 * len(found)
    headers.message_id(data)
    headers.count_received(data)
    completed = headers.complete_submission(data[: headers.header_block(data)], at_ms=0, message_id="a@b")
    assert headers.message_id(completed) or b"message-id" in {field.name for field in found}
    assert headers.complete_submission(completed, at_ms=0, message_id="c@d") == completed
    assert render_envelope(data)[:1] == b"("
    return min(len(found), 3)


# --- MIME


def mime(data: bytes) -> Hashable:
    """A whole message as a store files, shows and searches it."""
    scanned = scan(data)
    summary = summarise(data)
    root = decode_parts(summary.parts)
    assert root == scanned.part and root.header_start == 0 and root.body_end <= len(data)
    shape = _inside(root, len(data))
    assert render_body_structure(root) == summary.body_structure
    render_body_structure(root, extensible=False)
    for text in searchable_texts(data, root=root):
        assert isinstance(text, str)
    find_part(root, tuple(data[:4]))
    line = data.partition(b"\n")[0]
    parse_date(line)
    base_subject(decode_header(line))
    return shape, summary.sent_date is None, bool(summary.references)


def _inside(root: Part, size: int) -> Hashable:
    """Every part lies within its message; the shape in short."""
    shape: dict[Hashable, None] = {}
    waiting: list[tuple[Part, int, int, int]] = [(root, 0, size, 0)]
    while waiting:
        part, start, end, depth = waiting.pop()
        assert start <= part.header_start <= part.body_start <= part.body_end <= end
        assert bool(part.children) == (part.is_multipart or part.is_message)
        shape[part.type[:12], part.encoding[:12], min(len(part.children), 3), min(depth, 4)] = None
        waiting += [(child, part.body_start, part.body_end, depth + 1) for child in part.children]
    return tuple(shape)[:20]


# --- RPC

INTERFACES = (Authentication, Control, Explains, Holdings, MailboxStore)
METHODS: dict[str, Method] = {
    f"{method.service}.{name}": method
    for interface in INTERFACES
    for name, method in methods_of(interface).items()
}


def rpc(data: bytes) -> Hashable:
    """Either side: frames, arguments of calls, results."""
    frames, error = _frames([data])
    assert _frames(cut(data)) == (frames, error)
    outcome: dict[Hashable, None] = {error[:30]: None}
    for frame in frames[:50]:
        assert _frames([bytes(encode(frame))]) == ([frame], "")
        if isinstance(frame, Call):
            method = METHODS.get(f"{frame.service}.{frame.method}")
            if method is None:
                outcome["unknown"] = None
                continue
            outcome[frame.method, _decoded(partial(method.unpack, stream=None), frame.arguments)] = None
        elif isinstance(frame, Reply):
            method = list(METHODS.values())[frame.call % len(METHODS)]
            outcome[method.name, _decoded(method.decode_result, frame.result)] = None
        elif isinstance(frame, Item):
            method = list(METHODS.values())[frame.call % len(METHODS)]
            outcome[method.name, _decoded(method.decode_result, frame.value)] = None
        else:
            if isinstance(frame, Failure):
                from_failure(frame)
            outcome[type(frame).__name__] = None
    return tuple(outcome)


def _frames(pieces: list[bytes]) -> tuple[list[Frame], str]:
    reader = FrameReader(RPC_LIMIT_BYTES)
    found: list[Frame] = []
    try:
        for piece in pieces:
            found.extend(reader.feed(piece))
    except FrameError as error:
        return found, str(error)
    return found, ""


def _decoded(decode: Callable[[msgspec.Raw], object], raw: msgspec.Raw) -> str:
    try:
        decode(raw)
    except msgspec.MsgspecError as error:
        return str(error).partition(" - ")[0][:20]
    return ""


NAMES = sorted({part for key in METHODS for part in key.split(".")})

TARGETS: dict[str, Target] = {
    "smtp": Target(smtp, tuple(words.SMTP)),
    "imap": Target(imap, tuple(words.IMAP)),
    "address": Target(address, tuple(words.ADDRESS)),
    "mime": Target(mime, tuple(words.MIME)),
    "rpc": Target(rpc, (*map(msgspec.msgpack.encode, NAMES), *words.RPC)),
}
