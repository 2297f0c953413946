"""Help texts of the settings: what stands below each of them in config/model.py."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from functools import cache
from typing import Any

from config import model
from config.model import Settings

_EXCHANGE = re.compile(r"\s*Exchange: ([^.]+)\.$")
_UNITS = {
    "_bytes": "bytes",
    "_seconds": "seconds",
    "_days": "days",
}


@dataclass(frozen=True)
class Help:
    text: str = ""
    exchange: str = ""
    """What Exchange calls it."""


def help_of(kind: type[Settings], field: str = "") -> Help:
    """Of a setting, or of the whole table when no field is named."""
    return _texts().get((kind.__name__, field), Help())


def unit_of(field: str) -> str:
    """From the setting's name; empty where it has none."""
    return next((unit for ending, unit in _UNITS.items() if field.endswith(ending)), "")


@cache
def _texts() -> dict[tuple[str, str], Help]:
    found: dict[tuple[str, str], Help] = {}
    for item in ast.parse(_source()).body:
        if not isinstance(item, ast.ClassDef):
            continue
        found[item.name, ""] = _help(ast.get_docstring(item) or "")
        field = ""
        for statement in item.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                field = statement.target.id
            elif field and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant):
                found[item.name, field] = _help(str(statement.value.value))
                field = ""
            else:
                field = ""
    return found


def _source() -> str:
    loader: Any = model.__spec__.loader if model.__spec__ is not None else None
    text: str | None = loader.get_source(model.__name__) if hasattr(loader, "get_source") else None
    if text is None:
        raise FileNotFoundError("config/model.py, whose help texts are asked for, is not installed as source")
    return text


def _help(text: str) -> Help:
    text = " ".join(text.split())
    exchange = _EXCHANGE.search(text)
    return Help(_EXCHANGE.sub("", text), exchange[1] if exchange else "")
