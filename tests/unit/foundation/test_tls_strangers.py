"""A stranger may show whatever certificate it has."""

from __future__ import annotations

import ssl
from pathlib import Path

from foundation.certificates import issue_certificate, make_authority
from foundation.tls import Identity
from tests.unit.foundation.test_tls import DISK, NOW, folder, talk

__all__ = ["folder"]


async def test_the_public_listener_does_not_ask_and_so_does_not_refuse(
    folder: Path,
    tmp_path: Path,
) -> None:
    other = tmp_path / "other"
    make_authority(other, "Other", now_ms=NOW, disk=DISK)
    issue_certificate(other, "mx", now_ms=NOW, disk=DISK)
    hub = Identity(folder, "hub-a")
    context = hub.public_server()
    assert context is not None
    assert context.verify_mode == ssl.CERT_NONE
    stranger = ssl.create_default_context(cafile=folder / "ca.pem")
    stranger.load_cert_chain(other / "mx.pem", other / "mx.key")
    assert await talk(hub, context, hub, stranger) == ("", "hub-a")
