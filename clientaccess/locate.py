"""Which mailbox store has a user's mailbox, and the way to it: one kept connection for each store.

The store's name comes with the user from the directory, its endpoint from the topology. At the other end must
be that very store: its certificate is checked for its name.
"""

from __future__ import annotations

from config.model import Topology
from foundation.interfaces.directory import DirectoryRecipient
from foundation.interfaces.mailbox_store import MailboxStore
from foundation.mail.errors import Unavailable
from foundation.rpc.client import RpcClient, TcpTarget
from foundation.tls import Identity


class Locator:
    def __init__(self, topology: Topology, identity: Identity) -> None:
        self._stores = {store.name: store for store in topology.stores}
        self._identity = identity
        self._clients: dict[str, RpcClient] = {}
        self._proxies: dict[str, MailboxStore] = {}

    def store_of(self, user: DirectoryRecipient) -> MailboxStore:
        """Its calls raise Unavailable 451 4.3.2 while the store can't be reached.

        Raises Unavailable 451 4.3.2 when the topology of this server has no such store.
        """
        proxy = self._proxies.get(user.store)
        if proxy is None:
            store = self._stores.get(user.store)
            if store is None:
                raise Unavailable(f"The mailbox store {user.store!r} is not known here, try again later")
            client = RpcClient(
                TcpTarget(
                    store.rpc.host,
                    store.rpc.port,
                    self._identity.internal_client(),
                    server=store.name,
                    peer_name=self._identity.peer_name,
                )
            )
            proxy = client.interface(MailboxStore)
            self._clients[user.store], self._proxies[user.store] = client, proxy
        return proxy

    async def reload(self, topology: Topology) -> None:
        """Stores that are gone, or reached elsewhere now, are left: calls that wait raise Unavailable."""
        before, self._stores = self._stores, {store.name: store for store in topology.stores}
        for name in list(self._clients):
            after = self._stores.get(name)
            if after is None or after.rpc != before[name].rpc:
                del self._proxies[name]
                await self._clients.pop(name).close()

    async def close(self) -> None:
        """Calls that wait raise Unavailable."""
        self._proxies.clear()
        while self._clients:
            _, client = self._clients.popitem()
            await client.close()
