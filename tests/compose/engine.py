"""The container engine of this machine, driven by commands: Docker's, or podman with podman-compose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Completed = subprocess.CompletedProcess[str]
Runner = Callable[[Sequence[str]], bool]

INSTALL = (
    "install one of the two:\n"
    "  Docker with its compose plugin: https://docs.docker.com/engine/install/\n"
    "  podman: apt-get install -y podman podman-compose"
)


class NoEngine(Exception):
    """No engine here can run the topology; says what was found, and what to install."""


class CommandError(Exception):
    """A command of the engine failed; says which, and what it printed."""


def answers(command: Sequence[str]) -> bool:
    """Whether the command is there and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def find_engine(answers: Runner = answers) -> tuple[str, tuple[str, ...]]:
    """The engine's command, and that of its compose. Raises NoEngine.

    A client alone is no engine: `docker info` and `podman info` ask the engine itself.
    """
    found: list[str] = []
    if answers(("docker", "--version")):
        if not answers(("docker", "info")):
            found.append("docker is there, but its engine does not answer (`docker info` fails)")
        elif not answers(("docker", "compose", "version")):
            found.append("docker is there without its compose plugin (`docker compose version` fails)")
        else:
            return "docker", ("docker", "compose")
    if answers(("podman", "--version")):
        if not answers(("podman", "info")):
            found.append("podman is there, but can't run (`podman info` fails)")
        elif not answers(("podman-compose", "--version")):
            found.append("podman is there without podman-compose")
        else:
            return "podman", ("podman-compose",)
    raise NoEngine("; ".join((*found, f"no container engine here runs docker-compose.yml; {INSTALL}")))


class Compose:
    """One run of docker-compose.yml under a project name of its own."""

    def __init__(self, project: str, settings: Mapping[str, str]) -> None:
        """`settings`: variables that the file reads. Raises NoEngine."""
        self.engine, self._compose = find_engine()
        self._project = project
        self._environment = {**os.environ, **settings}

    def build(self) -> None:
        self._shown("build")

    def up(self, *services: str) -> None:
        """Starts them, or all, in the background."""
        self._shown("up", "-d", "--no-build", *services)

    def stop(self) -> None:
        self._shown("stop", "-t", "30")

    def down(self) -> None:
        """Removes containers, networks and volumes."""
        self._shown("down", "-v")
        own = f"--filter=label=com.docker.compose.project={self._project}"
        for network in self._run([self.engine, "network", "ls", "--quiet", own]).stdout.split():
            self._run([self.engine, "network", "rm", network])  # podman-compose leaves it

    def logs(self, service: str) -> str:
        done = self._run([self.engine, "logs", self._container(service)])
        return done.stdout + done.stderr

    def execute(self, service: str, *command: str, stdin: str = "", check: bool = True) -> Completed:
        """A command in a running container. Raises CommandError unless it succeeds or `check` is off."""
        return self._run([self.engine, "exec", "-i", self._container(service), *command], stdin, check)

    def kill(self, service: str) -> None:
        self._run([self.engine, "kill", "--signal", "KILL", self._container(service)])

    def start(self, service: str) -> None:
        self._run([self.engine, "start", self._container(service)])

    def inspect(self, service: str) -> dict[str, Any]:
        """What the engine knows of the service's container."""
        found = json.loads(self._run([self.engine, "inspect", self._container(service)]).stdout)
        return dict(found[0])

    def exists(self, service: str) -> bool:
        return bool(self._containers(service))

    def running(self, service: str) -> bool:
        return bool(self.inspect(service)["State"]["Running"])

    def healthy(self, service: str) -> bool:
        """By the health check of docker-compose.yml. Podman runs it on demand where there is no systemd."""
        if self.engine == "podman":
            return (
                self._run(["podman", "healthcheck", "run", self._container(service)], check=False).returncode
                == 0
            )
        return bool(self.inspect(service)["State"]["Health"]["Status"] == "healthy")

    def _container(self, service: str) -> str:
        containers = self._containers(service)
        if len(containers) != 1:
            raise CommandError(f"{service} has {len(containers)} containers, not one")
        return containers[0]

    def _containers(self, service: str) -> list[str]:
        labels = {"com.docker.compose.project": self._project, "com.docker.compose.service": service}
        filters = [f"--filter=label={key}={value}" for key, value in labels.items()]
        return self._run([self.engine, "ps", "--all", "--quiet", *filters]).stdout.split()

    def _shown(self, *arguments: str) -> None:
        """A command of compose; what it prints is shown when it fails."""
        self._run([*self._compose, "-p", self._project, *arguments])

    def _run(self, command: Sequence[str], stdin: str = "", check: bool = True) -> Completed:
        done = subprocess.run(
            command, input=stdin, capture_output=True, text=True, env=self._environment, timeout=900
        )
        if check and done.returncode:
            raise CommandError(
                f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
            )
        return done


def main() -> int:
    """Names the engine, or says what to install: `make test-compose` asks before it sets anything up."""
    try:
        engine, _ = find_engine()
    except NoEngine as error:
        print(f"test-compose: {error}", file=sys.stderr)
        return 1
    print(f"container engine: {engine}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
