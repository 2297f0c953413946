"""SMTP command lines, both ways: MAIL and RCPT as records (RFC 5321 4.1.1, RFC 3461, RFC 6531), strictly.

A fast pattern takes the addresses of everyday; everything else goes through the full grammar. Between Waypost
servers, the parameters XWAYPOST-* carry the Transfer; unknown ones of a newer release are skipped.
XWAYPOST-HELD asks whether the content is there: after the reply CONTENT_IS_HELD it may end with its prefix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from foundation.mail.address import valid_address
from foundation.mail.envelope import Recipient, Sender, Transfer
from foundation.mail.errors import MailError
from foundation.mail.xtext import encode_xtext
from foundation.smtp import parameters
from foundation.smtp.reply import Reply

PRIVATE_KEYWORD = "XWAYPOST"
PRIVATE_VERSION = "1"

CONTENT_IS_HELD = Reply.of(250, "2.1.0", "Sender ok, content held")

LINE_BYTES = 512
"""RFC 5321 4.5.3.1.4, with the CRLF."""
AUTH_LINE_BYTES_MAX = 12288
"""RFC 4954 4, also for the lines of the exchange."""
_EXTENSION_BYTES = {
    # SIZE (RFC 1870 3), BODY (RFC 6152 2), SMTPUTF8 (RFC 6531 3.4), AUTH (RFC 4954 3), DSN (RFC 3461 4)
    "MAIL": 26 + 17 + 10 + 500 + 131,
    "RCPT": 500 + 10 + 28,
}
_PRIVATE_BYTES = 640

_VERB = re.compile(rb"([A-Za-z][A-Za-z0-9]{2,11})(?:[ \t]+(.*))?", re.DOTALL)
_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")
_LABEL = rb"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_SIMPLE_PATH = re.compile(
    rb"<(([A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+(?:\.[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+)*)"
    rb"@(" + _LABEL + rb"(?:\." + _LABEL + rb")*))>(?: +|$)"
)
_ROUTE = re.compile(r"@[^\s,:@\"<>]+(?:,@[^\s,:@\"<>]+)*:")
_HEX_SHA256 = re.compile(r"[0-9a-f]{64}")
_INJECTION = re.compile(r"[\x00-\x1f\x7f]")


class MailCommand(msgspec.Struct, frozen=True, kw_only=True):
    sender: Sender
    transfer: Transfer | None = None
    auth: str | None = None
    """AUTH= (RFC 4954 5): the submitter, empty for `<>`, None when not given."""


def line_limit(verb: str, *, extended: bool, private: bool) -> int:
    """How many octets a command line of this verb may have, with its CRLF."""
    if not extended:
        return LINE_BYTES
    if verb == "AUTH":
        return AUTH_LINE_BYTES_MAX
    more = _EXTENSION_BYTES.get(verb, 0)
    return LINE_BYTES + more + (_PRIVATE_BYTES if private and more else 0)


def split_command(line: bytes) -> tuple[str, bytes]:
    """Upper-case verb and argument of a line without its end. Raises MailError 500 or 501 5.5.2."""
    if _CONTROL.search(line) is not None:
        raise MailError(501, "5.5.2", "A control character is in the command")
    match = _VERB.fullmatch(line.rstrip(b" \t"))
    if match is None:
        raise MailError(500, "5.5.2", "Not a command")
    return match[1].decode("ascii").upper(), match[2] or b""


def parse_mail(argument: bytes, *, announced: frozenset[str], private: bool = False) -> MailCommand:
    """`FROM:<path> parameters`. `announced` holds the EHLO keywords of the session, empty after HELO.

    Raises MailError 501 5.1.7, 501 5.5.4, 553 5.6.7, 555 5.5.4.
    """
    address, rest = _path(argument, b"FROM:", "5.1.7")
    given = parameters.split_parameters(rest)
    transfer = _take_transfer(given) if private else None
    sender, auth = _sender(address, given, announced)
    if not sender.smtputf8 and not address.isascii():
        raise MailError(553, "5.6.7", "The address needs SMTPUTF8")  # RFC 6531 3.5
    return MailCommand(sender=sender, transfer=transfer, auth=auth)


def parse_rcpt(
    argument: bytes, *, announced: frozenset[str], private: bool = False, smtputf8: bool = False
) -> Recipient:
    """`TO:<path> parameters`; `smtputf8` as in the transaction's MAIL.

    Raises MailError 501 5.1.3, 501 5.5.4, 553 5.6.7, 555 5.5.4.
    """
    address, rest = _path(argument, b"TO:", "5.1.3")
    if not address:
        raise MailError(501, "5.1.3", "A recipient can't be empty")
    if not smtputf8 and not address.isascii():
        raise MailError(553, "5.6.7", "The address needs SMTPUTF8")  # RFC 6531 3.5
    if not rest:
        return Recipient(address=address)
    given = parameters.split_parameters(rest)
    recipient_id = group = ""
    if private:
        recipient_id = parameters.text(given.pop("XWAYPOST-RID", None))
        group = parameters.text(given.pop("XWAYPOST-GROUP", None))
        _skip_unknown_private(given)
    notify = orcpt = ""
    for keyword, value in given.items():
        if keyword == "NOTIFY" and "DSN" in announced:
            notify = parameters.notify(value)
        elif keyword == "ORCPT" and "DSN" in announced:
            orcpt = parameters.orcpt(value, smtputf8=smtputf8)
        else:
            raise parameters.unsupported(keyword)
    return Recipient(
        address=address, notify=notify, orcpt=orcpt, recipient_id=recipient_id, expanded_from=group
    )


def encode_mail(
    sender: Sender, transfer: Transfer | None, features: Mapping[str, str], *, size_bytes: int = 0
) -> bytes:
    """The whole MAIL line, with only what the peer's EHLO `features` allow.

    Raises MailError 550 5.6.7 when the message is internationalised and the peer is not (RFC 6531 3.1),
    501 5.1.7 for an address that is none.
    """
    if sender.smtputf8 and "SMTPUTF8" not in features:
        raise MailError(550, "5.6.7", "The next server can't take internationalised mail")
    words = [f"MAIL FROM:<{_checked(sender.address, sender.smtputf8, '5.1.7') if sender.address else ''}>"]
    if size_bytes and "SIZE" in features:
        words.append(f"SIZE={size_bytes}")
    if sender.body and (sender.body if sender.body == "BINARYMIME" else "8BITMIME") in features:
        words.append(f"BODY={sender.body}")
    if sender.smtputf8:
        words.append("SMTPUTF8")
    if "DSN" in features:
        words += [f"RET={sender.ret}"] if sender.ret else []
        words += [f"ENVID={sender.envid}"] if sender.envid else []
    if sender.requiretls and "REQUIRETLS" in features:
        words.append("REQUIRETLS")
    if transfer is not None and PRIVATE_KEYWORD in features:
        words += _transfer_words(transfer)
    return _line(words)


def encode_rcpt(recipient: Recipient, features: Mapping[str, str], *, smtputf8: bool = False) -> bytes:
    """The whole RCPT line. Raises MailError 501 5.1.3, 550 5.6.7."""
    words = [f"RCPT TO:<{_checked(recipient.address, smtputf8, '5.1.3')}>"]
    if "DSN" in features:
        words += [f"NOTIFY={recipient.notify}"] if recipient.notify else []
        words += [f"ORCPT={recipient.orcpt}"] if recipient.orcpt else []
    if PRIVATE_KEYWORD in features:
        words += [f"XWAYPOST-RID={encode_xtext(recipient.recipient_id)}"] if recipient.recipient_id else []
        words += (
            [f"XWAYPOST-GROUP={encode_xtext(recipient.expanded_from)}"] if recipient.expanded_from else []
        )
    return _line(words)


def _path(argument: bytes, keyword: bytes, status: str) -> tuple[str, bytes]:
    if argument[: len(keyword)].upper() != keyword:
        raise MailError(501, "5.5.4", f"The command's form is {keyword.decode()}<address>")
    text = argument[len(keyword) :].lstrip(b" ")
    match = _SIMPLE_PATH.match(text)
    if match is not None and match.end(2) - match.start(2) <= 64 and match.end(3) - match.start(3) <= 255:
        if match.end(1) - match.start(1) > 254:
            raise MailError(501, status, "The address is too long")  # RFC 5321 4.5.3.1.3, without < and >
        return match[1].decode("ascii"), text[match.end() :]
    return _full_path(text, status)


def _full_path(raw: bytes, status: str) -> tuple[str, bytes]:
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        raise MailError(501, status, "The address is not UTF-8") from None
    if not text.startswith("<"):
        raise MailError(501, status, "The address must stand in angle brackets")
    end = _path_end(text)
    if end < 0:
        raise MailError(501, status, "The closing angle bracket is missing")
    address, rest = text[1:end], text[end + 1 :]
    if rest and not rest.startswith(" "):
        raise MailError(501, "5.5.4", "A space is missing after the address")
    route = _ROUTE.match(address)
    if route is not None:
        address = address[route.end() :]  # RFC 5321 4.1.2, appendix C: accepted and ignored
    if status == "5.1.3" and address.lower() == "postmaster":
        address = "postmaster"  # RFC 5321 4.5.1
    elif address and not valid_address(address, smtputf8=True):
        raise MailError(501, status, "The address is malformed")
    return address, rest.strip(" ").encode("utf-8")


def _path_end(text: str) -> int:
    """Where the `>` is that is not in a quoted string; -1 without one."""
    quoted = False
    index = 1
    while index < len(text):
        character = text[index]
        if quoted and character == "\\":
            index += 1
        elif character == '"':
            quoted = not quoted
        elif character == ">" and not quoted:
            return index
        index += 1
    return -1


def _sender(
    address: str, given: dict[str, str | None], announced: frozenset[str]
) -> tuple[Sender, str | None]:
    if not given:
        return Sender(address=address), None
    size_bytes, ret, envid, body, smtputf8, requiretls = 0, "", "", "", False, False
    auth: str | None = None
    for keyword, value in given.items():
        if keyword == "SIZE" and "SIZE" in announced:
            size_bytes = parameters.size(value)
        elif keyword == "BODY" and "8BITMIME" in announced:
            body = parameters.body(value, binary="BINARYMIME" in announced)
        elif keyword == "SMTPUTF8" and "SMTPUTF8" in announced:
            smtputf8 = parameters.flag(keyword, value)
        elif keyword == "RET" and "DSN" in announced:
            ret = parameters.ret(value)
        elif keyword == "ENVID" and "DSN" in announced:
            envid = parameters.envid(value)
        elif keyword == "AUTH" and "AUTH" in announced:
            auth = "" if value == "<>" else parameters.text(value)
        elif keyword == "REQUIRETLS" and "REQUIRETLS" in announced:
            requiretls = parameters.flag(keyword, value)
        else:
            raise parameters.unsupported(keyword)
    sender = Sender(
        address=address,
        ret=ret,
        envid=envid,
        body=body,
        smtputf8=smtputf8,
        requiretls=requiretls,
        size_bytes=size_bytes,
    )
    return sender, auth


def _take_transfer(given: dict[str, str | None]) -> Transfer | None:
    network_message_id = parameters.text(given.pop("XWAYPOST-ID", None))
    key = parameters.text(given.pop("XWAYPOST-KEY", None))
    assessed = parameters.text(given.pop("XWAYPOST-ASSESSED", None))
    sha256 = given.pop("XWAYPOST-SHA256", None) or ""
    if sha256 and _HEX_SHA256.fullmatch(sha256) is None:
        raise parameters.bad("XWAYPOST-SHA256 is 64 hexadecimal digits")
    prefix_bytes = parameters.size(given.pop("XWAYPOST-PREFIX", None) or "0")
    probe = "XWAYPOST-PROBE" in given
    first_attempt = "XWAYPOST-FIRST" in given
    may_be_held = "XWAYPOST-HELD" in given
    _skip_unknown_private(given)
    if not network_message_id:
        return None
    return Transfer(
        network_message_id=network_message_id,
        transfer_key=key,
        assessed=assessed,
        prefix_bytes=prefix_bytes,
        content_sha256=sha256,
        probe=probe,
        first_attempt=first_attempt,
        may_be_held=may_be_held,
    )


def _skip_unknown_private(given: dict[str, str | None]) -> None:
    for keyword in [word for word in given if word.startswith("XWAYPOST-")]:
        del given[keyword]


def _transfer_words(transfer: Transfer) -> list[str]:
    words = [f"XWAYPOST-ID={encode_xtext(transfer.network_message_id)}"]
    if transfer.transfer_key:
        words.append(f"XWAYPOST-KEY={encode_xtext(transfer.transfer_key)}")
    if transfer.assessed:
        words.append(f"XWAYPOST-ASSESSED={encode_xtext(transfer.assessed)}")
    if transfer.prefix_bytes:
        words.append(f"XWAYPOST-PREFIX={transfer.prefix_bytes}")
    if transfer.content_sha256:
        words.append(f"XWAYPOST-SHA256={transfer.content_sha256}")
    if transfer.probe:
        words.append("XWAYPOST-PROBE")
    if transfer.first_attempt:
        words.append("XWAYPOST-FIRST")
    if transfer.may_be_held:
        words.append("XWAYPOST-HELD")
    return words


def _checked(address: str, smtputf8: bool, status: str) -> str:
    if not address.isascii() and not smtputf8:
        raise MailError(550, "5.6.7", "An address is internationalised and the message is not marked so")
    if address != "postmaster" and not valid_address(address, smtputf8=smtputf8):
        raise MailError(501, status, "The address is malformed")
    return address


def _line(words: list[str]) -> bytes:
    line = " ".join(words)
    if _INJECTION.search(line) is not None:
        raise MailError(501, "5.5.2", "A control character is in the envelope")
    return line.encode("utf-8") + b"\r\n"
