"""The enhanced status codes that Waypost says or explains (RFC 3463, IANA registry), with a sentence each.

Replies name them by their constants; delivery reports turn any code, also a stranger's, into what happened
and what to do about it.
"""

from __future__ import annotations

from typing import NamedTuple

OK = "2.0.0"
SENDER_OK = "2.1.0"
RECIPIENT_OK = "2.1.5"
MESSAGE_ACCEPTED = "2.6.0"
AUTHENTICATED = "2.7.0"

SERVER_ERROR = "4.3.0"
SYSTEM_FULL = "4.3.1"
SYSTEM_UNAVAILABLE = "4.3.2"
NO_ANSWER = "4.4.1"
CONNECTION_BROKEN = "4.4.2"
NAME_SERVICE_FAILED = "4.4.3"
SYSTEM_CONGESTED = "4.4.5"
DELIVERY_EXPIRED = "4.4.7"
TOO_MANY_RECIPIENTS = "4.5.3"
MAILBOX_MOVED_NOW = "4.1.6"
MAILBOX_DISABLED_NOW = "4.2.1"
MAILBOX_FULL_NOW = "4.2.2"
RATE_LIMITED = "4.7.0"
AUTHENTICATION_UNAVAILABLE = "4.7.0"

BAD_MAILBOX = "5.1.1"
BAD_DOMAIN = "5.1.2"
BAD_RECIPIENT_SYNTAX = "5.1.3"
BAD_SENDER_SYNTAX = "5.1.7"
SENDER_REJECTED = "5.1.8"
NULL_MX = "5.1.10"
MAILBOX_DISABLED = "5.2.1"
MAILBOX_FULL = "5.2.2"
MESSAGE_TOO_BIG_FOR_MAILBOX = "5.2.3"
MESSAGE_TOO_BIG = "5.3.4"
UNROUTABLE = "5.4.4"
ROUTING_LOOP = "5.4.6"
EXPIRED = "5.4.7"
PROTOCOL_ERROR = "5.5.0"
BAD_COMMAND = "5.5.1"
SYNTAX_ERROR = "5.5.2"
BAD_ARGUMENTS = "5.5.4"
BAD_CONTENT = "5.6.0"
UTF8_NEEDED = "5.6.7"
NOT_ALLOWED = "5.7.1"
ENCRYPTION_NEEDED = "5.7.4"
BAD_CREDENTIALS = "5.7.8"
TLS_REQUIRED = "5.7.10"


class Explanation(NamedTuple):
    sentence: str
    """What happened, without a subject's name."""
    mend: str
    """What the sender of the message can do."""


WAIT = "Nothing needs to be done now; if it stays so, ask the recipient in another way."
_ASK_RECIPIENT = "Ask the recipient in another way to solve this, then send the message again."
_ASK_ADMINISTRATOR = "Show this report to your mail administrator."
_CHECK_ADDRESS = "Check the address for typing errors and send the message again."

_EXPLANATIONS = {
    "1.0": Explanation("There is a problem with the address.", _CHECK_ADDRESS),
    "1.1": Explanation("There is no mailbox of this address.", _CHECK_ADDRESS),
    "1.2": Explanation("The domain after the @ does not exist or takes no mail.", _CHECK_ADDRESS),
    "1.3": Explanation("The address is not a valid mail address.", _CHECK_ADDRESS),
    "1.4": Explanation("The address means more than one mailbox.", "Use the recipient's full address."),
    "1.6": Explanation("The mailbox has moved and left no new address.", _ASK_RECIPIENT),
    "1.7": Explanation("The sender's address is not valid.", "Check your own address in your mail program."),
    "1.8": Explanation(
        "The sender's domain can't receive mail.", "Check your own address in your mail program."
    ),
    "1.10": Explanation("The recipient's domain says that it takes no mail at all.", _CHECK_ADDRESS),
    "2.0": Explanation("There is a problem with the recipient's mailbox.", _ASK_RECIPIENT),
    "2.1": Explanation("The recipient's mailbox is disabled.", _ASK_RECIPIENT),
    "2.2": Explanation("The recipient's mailbox is full.", _ASK_RECIPIENT),
    "2.3": Explanation(
        "The message is larger than the recipient's mailbox takes.",
        "Send it with smaller attachments, or a link instead.",
    ),
    "2.4": Explanation("The members of the group could not be found out.", _ASK_ADMINISTRATOR),
    "3.0": Explanation("A mail server has a problem.", WAIT),
    "3.1": Explanation("A mail server has no space left.", WAIT),
    "3.2": Explanation("A mail server takes no messages now.", WAIT),
    "3.3": Explanation("The recipient's server lacks a feature that the message needs.", _ASK_ADMINISTRATOR),
    "3.4": Explanation(
        "The message is larger than a server on its way takes.",
        "Send it with smaller attachments, or a link instead.",
    ),
    "3.5": Explanation("A mail server is not set up for this message.", _ASK_ADMINISTRATOR),
    "4.0": Explanation("The recipient's server can't be reached.", WAIT),
    "4.1": Explanation("The recipient's server does not answer.", WAIT),
    "4.2": Explanation("The connection to the recipient's server broke.", WAIT),
    "4.3": Explanation("The name service could not say where the recipient's server is.", WAIT),
    "4.4": Explanation("No way to the recipient's server is known.", _ASK_ADMINISTRATOR),
    "4.5": Explanation("The mail system is too busy.", WAIT),
    "4.6": Explanation(
        "The message went round in a loop between servers.",
        "Tell the mail administrator of the recipient: a forwarding there leads back.",
    ),
    "4.7": Explanation(
        "The message could not be delivered within the time allowed.",
        "Ask the recipient in another way whether their server is down, then send the message again.",
    ),
    "5.0": Explanation("The servers did not understand each other.", _ASK_ADMINISTRATOR),
    "5.1": Explanation("The recipient's server refused a command.", _ASK_ADMINISTRATOR),
    "5.2": Explanation("The recipient's server did not understand a command.", _ASK_ADMINISTRATOR),
    "5.3": Explanation("The message has too many recipients.", "Send it to fewer recipients at once."),
    "5.4": Explanation("The recipient's server refused what the message asks for.", _ASK_ADMINISTRATOR),
    "6.0": Explanation("The content of the message was refused.", "Change the content and send it again."),
    "6.1": Explanation(
        "The recipient's server does not take this kind of content.", "Send it as plain text."
    ),
    "6.3": Explanation(
        "The message would have to be converted, and can't be.", "Send it without special formats."
    ),
    "6.7": Explanation(
        "The recipient's server takes no addresses with letters beyond ASCII.",
        "Use an address of the recipient in plain ASCII letters.",
    ),
    "7.0": Explanation("The message was refused for a reason of security.", _ASK_ADMINISTRATOR),
    "7.1": Explanation(
        "You are not allowed to send this message to this recipient.",
        "Ask the recipient or your mail administrator for permission.",
    ),
    "7.2": Explanation(
        "You are not allowed to send to this group.", "Ask the owner of the group for permission."
    ),
    "7.4": Explanation("The recipient's server does not offer the encryption needed.", _ASK_ADMINISTRATOR),
    "7.8": Explanation("User name or password is wrong.", "Check them in your mail program."),
    "7.10": Explanation("The message may only go over encrypted connections.", _ASK_ADMINISTRATOR),
    "7.26": Explanation("The message failed the checks of its sender's domain.", _ASK_ADMINISTRATOR),
}
_UNKNOWN = Explanation("The message was refused for a reason that was not told.", _ASK_ADMINISTRATOR)
_DELIVERED = Explanation("The message was delivered.", "Nothing needs to be done.")


def explain(status: str) -> Explanation:
    """What a code means, whatever its class: an unknown detail is explained by its subject (RFC 3463 2)."""
    kind, _, rest = status.partition(".")
    if kind == "2":
        return _DELIVERED
    subject = rest.partition(".")[0]
    return _EXPLANATIONS.get(rest) or _EXPLANATIONS.get(f"{subject}.0") or _UNKNOWN


def permanent(status: str) -> bool:
    return status.startswith("5")
