"""Which container engine `make test-compose` takes, and what it says when there is none."""

from __future__ import annotations

import pytest

from tests.compose.engine import NoEngine, Runner, find_engine

DOCKER = ("docker --version", "docker info", "docker compose version")
PODMAN = ("podman --version", "podman info", "podman-compose --version")


def machine(*working: str) -> Runner:
    """Where only these commands succeed."""
    return lambda command: " ".join(command) in working


def test_docker_is_taken_before_podman() -> None:
    assert find_engine(machine(*DOCKER, *PODMAN)) == ("docker", ("docker", "compose"))


def test_a_docker_client_without_an_engine_is_no_engine() -> None:
    assert find_engine(machine(DOCKER[0], DOCKER[2], *PODMAN)) == ("podman", ("podman-compose",))


@pytest.mark.parametrize(
    ("working", "said"),
    [
        ((), "no container engine here"),
        ((DOCKER[0], DOCKER[2]), "`docker info` fails"),
        (DOCKER[:2], "without its compose plugin"),
        (PODMAN[:1], "`podman info` fails"),
        (PODMAN[:2], "podman is there without podman-compose"),
    ],
)
def test_without_an_engine_it_says_what_is_wrong_and_what_to_install(
    working: tuple[str, ...], said: str
) -> None:
    with pytest.raises(NoEngine) as told:
        find_engine(machine(*working))
    assert said in str(told.value)
    assert "apt-get install -y podman podman-compose" in str(told.value)
    assert "https://docs.docker.com/engine/install/" in str(told.value)
