"""Logging on at a smart host: the password from its file, and only over TLS to the host that was meant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from config.model import Endpoint, SendConnector
from foundation.certificates import issue_certificate
from foundation.mail.errors import MailError
from foundation.tls import Identity
from tests.unit.hubtransport import lab as parts
from tests.unit.hubtransport.lab import LOCALHOST, Lab

HOST = "smart.example.org"


class Relay(parts.StubSession):
    """Takes mail only from who has logged on."""

    user = ""

    async def authenticate(self, login: str, password: str) -> None:
        if (login, password) != ("example", "right pässword"):
            raise MailError(535, "5.7.8", "Wrong user name or password")
        self.user = login

    async def mail(self, command: Any) -> Any:
        if not self.user:
            raise MailError(530, "5.7.0", "Log on first")
        return await super().mail(command)


@pytest.fixture
async def smart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Lab]:
    """A hub at site A whose way out is a smart host; its certificate is of the lab's CA."""
    monkeypatch.setattr(parts, "StubSession", Relay)
    async with Lab(tmp_path) as lab:
        folder = lab.topology.certificates
        issue_certificate(folder, "relay", [HOST], now_ms=lab.clock.now_ms(), disk=lab.world.disk)
        lab.names.hosts[HOST] = lab.names.hosts["other.example.org"] = (LOCALHOST,)
        (lab.folder / "password").write_text("right pässword\n")
        yield lab


async def start(lab: Lab, host: str = HOST, *, listener: str = "starttls", **settings: Any) -> None:
    connector = SendConnector(
        name="smart",
        smart_hosts=(Endpoint(host=host, port=lab.outside_port),),
        tls="verified",
        ca_file=str(lab.topology.certificates / "ca.pem"),
        username="example",
        password_file=str(lab.folder / "password"),
    ).model_copy(update=settings)
    lab.topology = lab.topology.model_copy(update={"send_connectors": (connector,)})
    await lab.outside.stop()
    context = Identity(lab.topology.certificates, "relay").public_server()
    await lab.outside.start(protocol="smtp", authentication=True, **{listener: context})
    await lab.start("hub-a")


@pytest.mark.parametrize(
    ("listener", "settings"), [("starttls", {}), ("implicit_tls", {"implicit_tls": True})]
)
async def test_the_hub_logs_on_over_tls(smart: Lab, listener: str, settings: dict[str, Any]) -> None:
    await start(smart, listener=listener, **settings)
    await smart.send("friend@example.org")
    (delivered,) = await smart.outside.wait()
    assert delivered.addresses == ("friend@example.org",)
    session = smart.outside.sessions[-1]
    assert isinstance(session, Relay)
    assert (session.facts.tls, session.facts.authenticated, session.user) == (True, True, "example")


async def test_another_name_than_the_certificates_gets_no_password(smart: Lab) -> None:
    await start(smart, "other.example.org")
    await smart.send("friend@example.org")
    reply = (await smart.until_event("DEFER")).reply
    assert "not valid for 'other.example.org'" in reply
    assert not any(session.facts.authenticated for session in smart.outside.sessions)


async def test_a_certificate_of_a_ca_that_nobody_named_is_not_trusted(smart: Lab) -> None:
    await start(smart, ca_file="")
    await smart.send("friend@example.org")
    assert "certificate verify failed" in (await smart.until_event("DEFER")).reply


async def test_without_starttls_nothing_is_sent(smart: Lab) -> None:
    await start(smart)
    await smart.outside.stop()
    await smart.outside.start(protocol="smtp", authentication=True)
    await smart.send("friend@example.org")
    assert "TLS is required" in (await smart.until_event("DEFER")).reply


async def test_a_password_that_was_mended_counts_at_the_next_try(smart: Lab) -> None:
    (smart.folder / "password").write_text("wrong")
    await start(smart)
    await smart.send("friend@example.org")
    assert "5.7.8 Wrong user name or password" in (await smart.until_event("DEFER")).reply
    (smart.folder / "password").write_text("right pässword")
    await smart.outside.wait()


@pytest.mark.parametrize("missing", ["password_file", "ca_file"])
async def test_a_file_that_is_not_there_is_named(smart: Lab, missing: str) -> None:
    await start(smart, **{missing: str(smart.folder / "nowhere")})
    await smart.send("friend@example.org")
    reply = (await smart.until_event("DEFER")).reply
    assert "send connector smart: " in reply
    assert "nowhere" in reply
