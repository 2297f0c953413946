"""Delivery, which hosts take mail for a domain, in which order (RFC 5321 5.1, RFC 7505)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from foundation.interfaces.world import MailExchanger
from foundation.mail.errors import MailError

HOSTS_MAX = 10
"""Tried for one connection."""


def order_of_hosts(
    domain: str,
    found: Sequence[MailExchanger],
    own_names: frozenset[str],
    uniform: Callable[[float, float], float],
) -> tuple[str, ...]:
    """Hosts in the order they are tried; the domain itself when it has no MX.

    Raises MailError 556 5.1.10 (it takes no mail), 554 5.4.6 (the best of them is this server).
    """
    if not found:
        return (domain,)  # RFC 5321 5.1: implicit MX
    if all(exchanger.host in ("", ".") for exchanger in found):
        raise MailError(556, "5.1.10", f"The domain {domain} takes no mail")  # RFC 7505 3, 5
    # RFC 5321 5.1: equal preferences in random order
    shuffled = sorted(
        (exchanger.preference, uniform(0.0, 1.0), exchanger.host.rstrip(".").lower())
        for exchanger in found
        if exchanger.host not in ("", ".")
    )
    own = min((preference for preference, _, host in shuffled if host in own_names), default=None)
    if own is not None:
        # RFC 5321 5.1: those from our own preference on would only send it back
        shuffled = [entry for entry in shuffled if entry[0] < own]
        if not shuffled:
            raise MailError(554, "5.4.6", f"Mail for {domain} would come back to this server")
    return tuple(dict.fromkeys(host for _, _, host in shuffled))[:HOSTS_MAX]
