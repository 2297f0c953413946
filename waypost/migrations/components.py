"""The databases' schemas by component: metadata and revision as the code of this release expects them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData

from foundation.directory import tables as directory
from hubtransport.queues import tables as queues
from mailboxstore.database import tables as mailboxes


@dataclass(frozen=True)
class Component:
    name: str
    metadata: MetaData
    revision: int


COMPONENTS = (
    Component("directory", directory.metadata, directory.SCHEMA_REVISION),
    Component("hub", queues.METADATA, queues.REVISION),
    Component(mailboxes.COMPONENT, mailboxes.metadata, mailboxes.REVISION),
)
