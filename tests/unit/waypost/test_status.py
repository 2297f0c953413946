"""What `waypost status` says of a server that is short of something."""

from __future__ import annotations

from pathlib import Path

from foundation.interfaces.control import ServerStatus
from tests.harness.topologies import ready_topology
from waypost.cli.control import Answer
from waypost.cli.status import _document, _row
from waypost.servers import servers_of


def test_back_pressure_is_shown_with_its_reason(tmp_path: Path) -> None:
    server = servers_of(ready_topology("two-sites", tmp_path))[0]
    status = ServerStatus(
        name="hub-a",
        role="hub",
        site="A",
        pid=1,
        state="ready",
        pressure="medium",
        pressure_reasons=("disk medium: 97 %",),
    )
    assert _row(Answer(server, status))[4] == "ready; disk medium: 97 %"
    document = _document(Answer(server, status))
    assert document["pressure"] == "medium"
    assert list(document["pressure_reasons"]) == ["disk medium: 97 %"]
