"""Real hosts for tests: one fleet for each test process, a fresh host for each test that asks."""

import base64
import io
import itertools
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from lab import Fleet, Host, Spec

NewHost = Callable[..., Host]
_numbers = itertools.count(1)
#: A quarter of Debian's cost, and the least that PAM takes: a rotation makes and checks five such hashes.
QUICK_HASHES = 3


@dataclass(frozen=True)
class KeyPair:
    """A key pair of the tests' own, both halves in OpenSSH's format."""

    public: str
    private: str = field(repr=False)

    @classmethod
    def generate(cls) -> "KeyPair":
        key = ed25519.Ed25519PrivateKey.generate()
        public = key.public_key().public_bytes(
            serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH
        )
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.OpenSSH, serialization.NoEncryption()
        )
        return cls(public.decode(), private.decode())


@pytest.fixture(scope="session")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Return this test process's own fleet; its hosts end with the session, or with the process."""
    # Not skipped: without hosts nothing that matters would have been tested.
    if reason := Fleet.supported():
        pytest.fail(reason)
    with Fleet(tmp_path_factory.mktemp("fleet")) as fleet:
        yield fleet


@pytest.fixture(scope="session")
def management_key() -> KeyPair:
    """Return the key pair by which the account keyturn of every `host` logs in."""
    return KeyPair.generate()


@pytest.fixture
def new_host(fleet: Fleet, management_key: KeyPair) -> Iterator[NewHost]:
    """Return a function that starts a host for this test, given what differs from the usual Spec."""
    started: list[Host] = []

    def start(**differences: object) -> Host:
        spec = Spec(**{"public_key": management_key.public, "rounds": QUICK_HASHES, **differences})  # type: ignore[arg-type]
        started.append(fleet.start(f"host-{next(_numbers)}", spec))
        return started[-1]

    yield start
    for host in started:
        fleet.stop(host.name)


@pytest.fixture
def host(new_host: NewHost) -> Host:
    """Return a fresh host that has the account keyturn and nothing else."""
    return new_host()


def connect(
    host: Host,
    username: str,
    *,
    password: str | None = None,
    key: KeyPair | None = None,
    known: Sequence[str] | None = None,
    over: socket.socket | None = None,
) -> paramiko.SSHClient:
    """Log in, with the host's own key pinned; the caller closes what it gets.

    With `known`, the host keys are not read again; with `over`, the connection is already made.
    """
    client = paramiko.SSHClient()
    for line in host.host_keys() if known is None else known:
        kind, _, blob = line.partition(" ")
        pinned = paramiko.PKey.from_type_string(kind, base64.b64decode(blob))
        place = host.address if host.port == 22 else f"[{host.address}]:{host.port}"
        client.get_host_keys().add(place, kind, pinned)
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    try:
        client.connect(
            host.address,
            host.port,
            username,
            password,
            pkey=key and paramiko.Ed25519Key.from_private_key(io.StringIO(key.private)),
            allow_agent=False,
            look_for_keys=False,
            timeout=10,
            auth_timeout=20,
            sock=over,
        )
    except BaseException:
        # Not closed, it would hold one of the host's few places for logins under way.
        client.close()
        raise
    return client


def command(client: paramiko.SSHClient, line: str, given: str = "") -> tuple[int, str]:
    """Run a command line by SSH and return its exit status and what it printed, errors included."""
    channel = client.get_transport().open_session(timeout=10)
    channel.settimeout(20)
    channel.set_combine_stderr(True)
    channel.exec_command(line)
    channel.sendall(given.encode())
    channel.shutdown_write()
    said = b"".join(iter(lambda: channel.recv(65536), b""))
    return channel.recv_exit_status(), said.decode()
