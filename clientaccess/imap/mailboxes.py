"""Commands on the list of mailboxes (RFC 3501 6.3; RFC 5258, 5819, 6154, 8474)."""

from __future__ import annotations

from clientaccess.imap import responses
from clientaccess.imap.commands import (
    Create,
    Delete,
    ListMailboxes,
    ListSubscribed,
    Rename,
    Status,
    Subscribe,
)
from clientaccess.imap.context import Context, Done, Rejected
from clientaccess.imap.names import (
    DELIMITER,
    InvalidName,
    decode_name,
    decode_pattern,
    encode_name,
    matches,
    new_name,
)
from foundation.interfaces.mailbox_store import Folder, InUids, Role

_ROLES: dict[str, Role] = {
    attribute.decode("ascii")[1:].lower(): role for role, attribute in responses.ROLE_ATTRIBUTES.items()
}


def existing(context: Context, raw: bytes) -> str:
    """The store's name for what the client wrote. Raises Rejected."""
    try:
        return decode_name(raw, context.utf8)
    except InvalidName as error:
        raise Rejected(str(error), b"CANNOT") from error


def _new(context: Context, raw: bytes) -> str:
    try:
        return new_name(raw, context.utf8)
    except InvalidName as error:
        raise Rejected(str(error), b"CANNOT") from error


def _shown(context: Context, name: str) -> bytes:
    return responses.mailbox(encode_name(name, context.utf8))


async def create(context: Context, command: Create) -> Done:
    name = _new(context, command.mailbox)
    role: Role = ""
    if command.uses:
        found = _ROLES.get(command.uses[0])
        if len(command.uses) > 1 or found is None:
            raise Rejected("That special use is not supported", b"USEATTR")
        role = found
        folders = await context.store.folders(context.mailbox_id)
        if any(folder.role == role for folder in folders):
            raise Rejected("Another mailbox has that special use", b"USEATTR")
    folder = await context.store.create_folder(context.mailbox_id, name, role)
    return Done("Created", b"MAILBOXID (%b)" % folder.folder_id.encode("ascii"))  # RFC 8474 4.1


async def delete(context: Context, command: Delete) -> Done:
    name = existing(context, command.mailbox)
    selected = context.selected
    own = False
    if selected is not None:
        own = (await context.store.folder(context.mailbox_id, name)).folder_id == selected.folder_id
    await context.store.delete_folder(context.mailbox_id, name)
    if own:
        context.selected = None
        context.out.write(responses.status(b"*", b"OK", "The selected mailbox was deleted", b"CLOSED"))
    return Done("Deleted")


async def rename(context: Context, command: Rename) -> Done:
    name, new = existing(context, command.mailbox), _new(context, command.new)
    await context.store.rename_folder(context.mailbox_id, name, new)
    return Done("Renamed")


async def subscribe(context: Context, command: Subscribe) -> Done:
    name = existing(context, command.mailbox)
    await context.store.set_subscribed(context.mailbox_id, name, command.subscribed)
    return Done("Subscribed" if command.subscribed else "Unsubscribed")


async def status(context: Context, command: Status) -> Done:
    folder = await context.store.folder(context.mailbox_id, existing(context, command.mailbox))
    if not folder.selectable:
        raise Rejected("The mailbox holds no messages", b"NONEXISTENT")
    if "HIGHESTMODSEQ" in command.items:  # RFC 7162 3.1
        context.condstore = True
    await _write_status(context, folder, command.items)
    return Done("Status given")


async def _recent(context: Context, folder: Folder) -> int:
    """How many messages the next session that selects it would see as \\Recent."""
    if not folder.first_recent_uid:
        return 0
    unclaimed = InUids(((folder.first_recent_uid, 0xFFFFFFFF),))
    return len(await context.store.search(context.mailbox_id, folder.folder_id, unclaimed))


async def _write_status(context: Context, folder: Folder, items: tuple[str, ...]) -> None:
    figures = {
        "MESSAGES": folder.messages,
        "RECENT": await _recent(context, folder) if "RECENT" in items else 0,
        "UIDNEXT": folder.uid_next,
        "UIDVALIDITY": folder.uid_validity,
        "UNSEEN": folder.unseen,
        "DELETED": folder.deleted,
        "SIZE": folder.size_bytes,
        "HIGHESTMODSEQ": folder.highest_modseq,
        "APPENDLIMIT": context.message_bytes_max,
    }
    parts = [
        f"MAILBOXID ({folder.folder_id})" if item == "MAILBOXID" else f"{item} {figures[item]}"
        for item in items
    ]
    context.out.write(
        b"* STATUS %b (%b)\r\n" % (_shown(context, folder.name), " ".join(parts).encode("ascii"))
    )


class _Listing:
    """The mailboxes that LIST speaks of: those that exist, and subscribed names that don't."""

    def __init__(self, folders: tuple[Folder, ...], subscribed: tuple[str, ...]) -> None:
        self.folders = {folder.name: folder for folder in folders}
        self.subscribed = frozenset(subscribed)
        self.parents = frozenset(parent for name in self.folders for parent in _parents(name))

    def attributes(self, name: str) -> list[bytes]:
        folder = self.folders.get(name)
        found: list[bytes] = []
        if folder is None:
            found.append(b"\\NonExistent")
        elif not folder.selectable:
            found.append(b"\\Noselect")
        found.append(b"\\HasChildren" if name in self.parents else b"\\HasNoChildren")  # RFC 3348 3
        if folder is not None and folder.role in responses.ROLE_ATTRIBUTES:
            found.append(responses.ROLE_ATTRIBUTES[folder.role])
        return found

    def special(self, name: str) -> bool:
        folder = self.folders.get(name)
        return folder is not None and folder.role in responses.ROLE_ATTRIBUTES


def _parents(name: str) -> list[str]:
    parts = name.split(DELIMITER)
    return [DELIMITER.join(parts[:count]) for count in range(1, len(parts))]


def _patterns(context: Context, reference: bytes, patterns: tuple[bytes, ...]) -> list[str]:
    """Reference and pattern together (RFC 3501 6.3.8); one that is no text of the encoding matches
    nothing."""
    decoded: list[str] = []
    for pattern in patterns:
        try:
            decoded.append(decode_pattern(reference + pattern, context.utf8))
        except InvalidName:
            continue
    return decoded


async def list_mailboxes(context: Context, command: ListMailboxes) -> Done:
    if not command.extended and command.patterns == (b"",):
        context.out.write(b'* LIST (\\Noselect) "/" ""\r\n')  # RFC 3501 6.3.8: asks for the delimiter
        return Done("Listed")
    patterns = _patterns(context, command.reference, command.patterns)
    wants_subscriptions = command.return_subscribed or command.select_subscribed
    listing = _Listing(
        await context.store.folders(context.mailbox_id),
        await context.store.subscriptions(context.mailbox_id) if wants_subscriptions else (),
    )
    for name in _candidates(listing, command):
        if not any(matches(name, pattern) for pattern in patterns):
            continue
        chosen = _selects(listing, command, name)
        children = _child_info(listing, command, name) if command.select_recursive else ()
        if not chosen and not children:
            continue
        await _write_list(context, listing, command, name, children)
        await context.out.flush()
    return Done("Listed")


def _candidates(listing: _Listing, command: ListMailboxes) -> list[str]:
    names = dict.fromkeys(listing.folders)
    if command.select_subscribed:
        names |= dict.fromkeys(sorted(listing.subscribed))
        if command.select_recursive:
            names |= dict.fromkeys(parent for name in sorted(listing.subscribed) for parent in _parents(name))
    return sorted(names, key=lambda name: (name != "INBOX", name))


def _selects(listing: _Listing, command: ListMailboxes, name: str) -> bool:
    if command.select_subscribed and name not in listing.subscribed:
        return False
    if command.select_special_use and not listing.special(name):
        return False
    return command.select_subscribed or name in listing.folders


def _child_info(listing: _Listing, command: ListMailboxes, name: str) -> tuple[bytes, ...]:
    """Which selection criteria a mailbox below `name` meets (RFC 5258 3.5)."""
    below = name + DELIMITER
    names = sorted({*listing.folders, *listing.subscribed})
    if any(child.startswith(below) and _selects(listing, command, child) for child in names):
        criteria = ((command.select_subscribed, b"SUBSCRIBED"), (command.select_special_use, b"SPECIAL-USE"))
        return tuple(criterion for wanted, criterion in criteria if wanted)
    return ()


async def _write_list(
    context: Context, listing: _Listing, command: ListMailboxes, name: str, children: tuple[bytes, ...]
) -> None:
    attributes = listing.attributes(name)
    if command.return_subscribed and name in listing.subscribed:
        attributes.insert(0, b"\\Subscribed")
    information = b""
    if children:
        information = b' ("CHILDINFO" (%b))' % b" ".join(b'"%b"' % child for child in children)
    context.out.write(
        b'* LIST (%b) "/" %b%b\r\n' % (b" ".join(attributes), _shown(context, name), information)
    )
    folder = listing.folders.get(name)
    if command.return_status and folder is not None and folder.selectable:  # RFC 5819 2
        if "HIGHESTMODSEQ" in command.return_status:
            context.condstore = True
        await _write_status(context, folder, command.return_status)


async def list_subscribed(context: Context, command: ListSubscribed) -> Done:
    """RFC 3501 6.3.9."""
    patterns = _patterns(context, command.reference, (command.pattern,))
    folders = {folder.name: folder for folder in await context.store.folders(context.mailbox_id)}
    subscribed = await context.store.subscriptions(context.mailbox_id)
    shown: dict[str, bytes] = {}
    for name in sorted(subscribed):
        if any(matches(name, pattern) for pattern in patterns):
            folder = folders.get(name)
            shown[name] = b"" if folder is not None and folder.selectable else b"\\Noselect"
            continue
        for parent in _parents(name):  # a parent matched by % stands for its subscribed child
            if (
                parent not in shown
                and command.pattern.endswith(b"%")
                and any(matches(parent, p) for p in patterns)
            ):
                shown[parent] = b"" if parent in subscribed else b"\\Noselect"
    for name in sorted(shown, key=lambda name: (name != "INBOX", name)):
        context.out.write(b'* LSUB (%b) "/" %b\r\n' % (shown[name], _shown(context, name)))
        await context.out.flush()
    return Done("Listed")
