"""What the tests of the SSH connector share: a host with an account, and a connector to it."""

import uuid
from dataclasses import dataclass, field

from lab import Host
from rotation.connectors.base import Facts, Fence, Login, Manager, Proof, Sudo
from rotation.connectors.ssh.connector import SshConnector
from secrets_app.crypto.plaintext import Plaintext
from tests.lab_fixtures import KeyPair
from tests.networks import endpoint
from tests.wires.relay import Relay

FIRST = "the-first-Password-1"
SECOND = "the-second-Password-2"


@dataclass
class Rig:
    """A real host with the account svc, whose password is FIRST, and how to talk to it."""

    host: Host
    key: KeyPair
    sudo: Sudo = Sudo.PASSWORDLESS
    sudo_password: str = ""
    username: str = "keyturn"
    relay: Relay | None = None
    console: str = field(default_factory=lambda: str(uuid.uuid4()))

    @property
    def manager(self) -> Manager:
        login = Login(self.username, private_key=Plaintext(self.key.private))
        return Manager(login, self.sudo, Plaintext(self.sudo_password) if self.sudo_password else None)

    @property
    def connector(self) -> SshConnector:
        place = self.relay or self.host
        return SshConnector(endpoint(place.address, place.port, tuple(self.host.host_keys())))

    def set(self, value: str, generation: int = 1, *, timeout: float = 15) -> None:
        fence = Fence(self.console, generation)
        self.connector.set_password(self.manager, "svc", Plaintext(value), fence=fence, timeout=timeout)

    def preflight(self, username: str = "svc", *, timeout: float = 15) -> Facts:
        return self.connector.preflight(self.manager, username, timeout=timeout, console_id=self.console)

    def probe(self, value: str) -> Proof:
        return self.connector.probe_password(self.manager, "svc", Plaintext(value), timeout=15)

    def prove(self, value: str, *, timeout: float = 15) -> Proof:
        return self.connector.prove_login(Login("svc", password=Plaintext(value)), timeout=timeout)

    def accepts(self, value: str) -> bool:
        return self.host.shadow_accepts("svc", value)

    def replace_program(self, path: str, script: str) -> None:
        """Put a shell script in a program's place; the program itself is then at its path + `.real`."""
        self.host.run(["mv", path, f"{path}.real"])
        self.host.write(path, f"#!/bin/sh\n{script}\n", 0o755)

    def configure_sshd(self, *lines: str) -> None:
        """Put lines before sshd's configuration: the first mention counts."""
        text = self.host.read("/etc/ssh/sshd_config")
        self.host.write("/etc/ssh/sshd_config", "".join(f"{line}\n" for line in lines) + text)
        self.host.restart_sshd()

    def configure_sudo(self, *lines: str) -> None:
        """Add lines after sudo's own, where they win."""
        self.host.write("/etc/sudoers.d/zz", "".join(f"{line}\n" for line in lines), 0o440)


def rig(host: Host, key: KeyPair, **differences: object) -> Rig:
    """A rig whose account exists."""
    host.add_account("svc", password=FIRST)
    return Rig(host, key, **differences)  # type: ignore[arg-type]
