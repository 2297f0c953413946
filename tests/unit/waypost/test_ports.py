from __future__ import annotations

import socket
from typing import Any

import pytest

from config.model import AccessServer, Domain, Endpoint, HubServer, Site, StoreServer, Topology
from waypost.ports import Moved, PortBusy, resolve_ports


def local(port: int) -> Endpoint:
    return Endpoint(host="127.0.0.1", port=port)


def topology(submission: int, **settings: Any) -> Topology:
    return Topology(
        organisation="Example",
        default_domain="example.org",
        domains=(Domain(domain="example.org"),),
        sites=(Site(name="a"),),
        hubs=(HubServer(name="hub", site="a", smtp_internal=local(0), rpc=local(0)),),
        stores=(StoreServer(name="store", site="a", lmtp=local(0), rpc=local(0)),),
        access=(AccessServer(name="access", site="a", submission=local(submission), rpc=local(0)),),
        **settings,
    )


@pytest.fixture
def busy() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_busy_port_moves_up_and_says_so(busy: int) -> None:
    resolved, moved = resolve_ports(topology(busy, nearest_free_port=True))
    submission = resolved.access[0].submission
    assert submission is not None
    assert submission.port > busy
    assert moved == (Moved("access", "submission", busy, submission.port),)


def test_where_ports_are_fixed_a_busy_one_is_an_error(busy: int) -> None:
    with pytest.raises(PortBusy, match=f"access can't listen for submission on 127.0.0.1:{busy}"):
        resolve_ports(topology(busy))


def test_port_0_becomes_a_free_one_of_its_own() -> None:
    resolved, moved = resolve_ports(topology(0))
    ports = [resolved.hubs[0].smtp_internal.port, resolved.hubs[0].rpc.port, resolved.stores[0].lmtp.port]
    assert 0 not in ports
    assert len(set(ports)) == 3
    assert moved == ()


def test_an_address_that_is_not_here_is_an_error() -> None:
    elsewhere = topology(0).model_copy(update={"nearest_free_port": True})
    hub = elsewhere.hubs[0].model_copy(update={"rpc": Endpoint(host="192.0.2.1", port=2600)})
    with pytest.raises(PortBusy, match=r"192\.0\.2\.1"):
        resolve_ports(elsewhere.model_copy(update={"hubs": (hub,)}))
