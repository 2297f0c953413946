"""Explain: what Client Access would do with a message that is submitted, by the policy of its sessions."""

from __future__ import annotations

from typing import Any

from clientaccess.submission.policy import check_header, check_recipient, check_sender
from config.model import AccessServer, Topology
from foundation.interfaces.directory import Credentials, Directory
from foundation.interfaces.explanation import End, Explanation, Going, Onward, Question, Step
from foundation.mail.errors import MailError, Unavailable
from foundation.smtp.intake import too_large


class SubmissionExplainer:
    """Implements foundation.interfaces.explanation.Explains."""

    def __init__(
        self, settings: AccessServer, topology: Topology, directory: Directory, *, live: bool
    ) -> None:
        self._settings = settings
        self._topology = topology
        self._directory = directory
        self._live = live

    def reload(self, settings: AccessServer, topology: Topology) -> None:
        self._settings, self._topology = settings, topology

    async def explain(self, question: Question) -> Explanation:
        try:
            user = await self._user(question)
            check_sender(question.sender, user)
            self._check_content(question)
        except MailError as error:
            if not error.permanent:
                raise
            ends = [_refused(recipient.address, error) for recipient in question.recipients]
            return self._explanation(ends=tuple(ends))
        store = user.user.store
        if store not in [each.name for each in self._topology.stores]:
            away = Unavailable(f"The mailbox store {store!r} is not known here, try again later")
            ends = [_refused(recipient.address, away) for recipient in question.recipients]
            return self._explanation(ends=tuple(ends))
        steps = [self._sender_step(question, user), self._size_step(question)]
        ends = []
        accepted: list[Going] = []
        for recipient in question.recipients:
            try:
                checked = await check_recipient(recipient, self._directory, self._topology.default_domain)
            except MailError as error:
                if not error.permanent:
                    raise
                ends.append(_refused(recipient.address, error))
            else:
                accepted.append(Going(recipient=checked, original=recipient.address))
        onward = [self._onward(user, accepted)] if accepted else []
        return self._explanation(steps=tuple(steps), ends=tuple(ends), onward=tuple(onward))

    async def _user(self, question: Question) -> Credentials:
        """Raises MailError 535 5.7.8 for one who may not log on, 451."""
        address = question.sender.address
        found = await self._directory.find(address) if address else None
        credentials = await self._directory.credentials(found.address) if found is not None else None
        if credentials is None:
            raise MailError(535, "5.7.8", f"Nobody who may log on has the address {address or '<>'}")
        return credentials

    def _check_content(self, question: Question) -> None:
        limits = self._settings.limits
        if question.size_bytes > limits.message_size_bytes:
            raise too_large(limits.message_size_bytes)
        check_header(question, header_bytes_max=limits.header_size_bytes, hops_max=limits.hops)

    def _sender_step(self, question: Question, user: Credentials) -> Step:
        return Step(
            stage="submission",
            rule="sender",
            what=f"{user.user.address} logs on and sends as {question.sender.address}",
            why="it is one of the user's own addresses",
            recipients=tuple(recipient.address for recipient in question.recipients),
        )

    def _size_step(self, question: Question) -> Step:
        return Step(
            stage="submission",
            rule="size",
            what=f"{question.size_bytes} bytes are taken",
            why=f"the limit here is {self._settings.limits.message_size_bytes} bytes",
        )

    def _onward(self, user: Credentials, accepted: list[Going]) -> Onward:
        store = user.user.store
        return Onward(
            recipients=tuple(accepted),
            door="outbox",
            next_hop=store,
            choices=(store,),
            why=f"the mailbox of {user.user.address} lives on {store}: Outbox and Sent are there",
        )

    def _explanation(self, **fields: Any) -> Explanation:
        return Explanation(server=self._settings.name, live=self._live, **fields)


def computed(topology: Topology, name: str, directory: Directory) -> SubmissionExplainer:
    """For a server that does not run. Raises StopIteration without such a server."""
    settings = next(server for server in topology.access if server.name == name)
    return SubmissionExplainer(settings, topology, directory, live=False)


def _refused(address: str, error: MailError) -> End:
    return End(address=address, original=address, outcome="refused", reply=str(error))
