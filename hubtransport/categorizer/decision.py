"""Categorizer, its words: a recipient on its way through the stages, and each decision with its reason.

Decisions are what `explain` prints and what tracking keeps: the worker writes one event for each that names
one.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from foundation.interfaces.directory import Directory, DirectoryRecipient
from foundation.interfaces.tracking import EventName, Source
from foundation.mail.envelope import Recipient
from foundation.mail.errors import MailError
from hubtransport.routing.table import Route, RoutingTable

Stage = Literal["resolve", "expand", "merge", "comply", "route"]


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    stage: Stage
    rule: str
    """Machine word for the rule that decided."""
    what: str
    why: str
    recipients: tuple[str, ...] = ()
    """Who it is about: addresses after the decision."""
    related: str = ""
    """Former address, or the group's."""
    event: EventName | None = None
    """Kept in tracking under this name; None: only told by `explain`."""
    source: Source = "ROUTING"


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One recipient between two stages."""

    position: int | None
    """Its row; None for one that a stage added."""
    recipient: Recipient
    original: str
    entry: DirectoryRecipient | None = None
    """What the directory knows; None: outside the organisation, or not looked up yet."""
    external: bool = False
    brought_by: str = ""
    """Address of the group, or the former address, that led here."""
    failure: MailError | None = None
    route: Route | None = None


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """What the stages may ask. The same for the running hub and for `explain`."""

    directory: Directory
    table: RoutingTable
    server: str
    default_domain: str
