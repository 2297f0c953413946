"""The databases' schemas by component: metadata and revision as the code of this release expects them."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData

from foundation.directory.tables import SCHEMA_REVISION as DIRECTORY_REVISION
from foundation.directory.tables import metadata as directory_metadata


@dataclass(frozen=True)
class Component:
    name: str
    metadata: MetaData
    revision: int


COMPONENTS = (Component("directory", directory_metadata, DIRECTORY_REVISION),)
