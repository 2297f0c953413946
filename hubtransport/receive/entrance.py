"""Receive, the commit of a message: with what the categorizer makes of it, where that can be said at once;
else it is the categorizer's next.

Promise: whoever hands it in may go away; what was committed is in the queues all the same.
"""

from __future__ import annotations

from foundation.database.spool import Spool
from hubtransport.categorizer.forwarder import Forwarder
from hubtransport.categorizer.worker import CategorizerWorker
from hubtransport.queues.arrival import Accepted, Arrival, KnownTransfer, accept
from hubtransport.queues.store import KEPT_CONTENT_BYTES_MAX, QueueStore


class Entrance:
    def __init__(self, store: QueueStore, categorizer: CategorizerWorker, forwarder: Forwarder) -> None:
        self._store = store
        self._categorizer = categorizer
        self._forwarder = forwarder

    async def take(self, arrival: Arrival, content: Spool) -> Accepted | KnownTransfer:
        """Raises MailError when it can't be committed."""
        small = content.size_bytes <= KEPT_CONTENT_BYTES_MAX
        copy = content.read(0, content.size_bytes) if small else b""
        await self._store.secure(content)
        work = await self._categorizer.at_once(arrival.message)

        def committed(accepted: Accepted | KnownTransfer) -> None:
            if isinstance(accepted, KnownTransfer):
                if work is not None:
                    self._forwarder.withdraw(work)
                return
            if small:
                self._store.keep(accepted.message.content_id, copy)
            if work is not None:
                self._forwarder.committed(work, accepted.units)
            else:
                self._categorizer.submitted((accepted.message,))

        try:
            return await self._store.writer.run(
                lambda connection: accept(connection, arrival, work, content), committed
            )
        except Exception:
            if work is not None:
                self._forwarder.withdraw(work)
            raise
