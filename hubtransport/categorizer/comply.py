"""Categorizer, comply: the agents that assess a message, once in the organisation.

The result travels as `assessed` (server and version of the rules); whoever gets it from a peer says so and
does not assess again. The chain is handed in; rules and journaling are agents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from foundation.mail.envelope import Recipient
from hubtransport.categorizer.decision import Candidate, Decision
from hubtransport.queues.records import QueuedMessage


class Assessment(msgspec.Struct, frozen=True, kw_only=True):
    reason: str
    """What the agent did, and why; kept in tracking."""
    added: tuple[Recipient, ...] = ()


class Agent(Protocol):
    name: str

    async def assess(self, message: QueuedMessage, recipients: Sequence[Candidate]) -> Assessment: ...


class AgentChain(msgspec.Struct, frozen=True, kw_only=True):
    version: str = "1"
    """Of the rules that the agents obey."""
    agents: tuple[Agent, ...] = ()


class Complied(msgspec.Struct, frozen=True):
    assessed: str
    added: tuple[Candidate, ...]
    decisions: tuple[Decision, ...]


async def comply(
    message: QueuedMessage, recipients: Sequence[Candidate], chain: AgentChain, server: str
) -> Complied:
    if message.assessed:
        assessor, _, version = message.assessed.rpartition("/")
        decision = Decision(
            stage="comply",
            rule="assessed-before",
            what="not run again",
            why=f"assessed by {assessor} version {version}",
            event="AGENTINFO",
            source="AGENT",
        )
        return Complied(message.assessed, (), (decision,))
    added: list[Candidate] = []
    decisions: list[Decision] = []
    for agent in chain.agents:
        assessment = await agent.assess(message, recipients)
        added += [
            Candidate(position=None, recipient=recipient, original=recipient.address, brought_by=agent.name)
            for recipient in assessment.added
        ]
        decisions.append(
            Decision(
                stage="comply",
                rule=agent.name,
                what=f"{agent.name} ran (rules version {chain.version})",
                why=assessment.reason,
                recipients=tuple(recipient.address for recipient in assessment.added),
                event="AGENTINFO",
                source="AGENT",
            )
        )
    if not chain.agents:
        decisions.append(
            Decision(
                stage="comply",
                rule="no-agents",
                what=f"assessed (rules version {chain.version})",
                why="no compliance agents are configured",
                event="AGENTINFO",
                source="AGENT",
            )
        )
    return Complied(f"{server}/{chain.version}", tuple(added), tuple(decisions))
