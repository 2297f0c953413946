"""An idle TLS connection costs a tenth on uvloop of what it costs on asyncio's own loop."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from waypost import service


def test_servers_run_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    loops: list[str] = []

    async def told(*_: Any) -> int:
        loops.append(type(asyncio.get_running_loop()).__module__)
        return 0

    monkeypatch.setattr(service, "_serve", told)
    monkeypatch.setattr(service, "configure_logging", lambda name: None)
    nothing: Any = None
    assert service.serve(nothing, type("Named", (), {"name": "hub"})(), nothing) == 0  # type: ignore[arg-type]
    assert loops == ["uvloop"]
