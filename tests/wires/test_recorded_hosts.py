"""A host that answers from a recording, as the bench has them."""

from lab import Host
from rotation.connectors.base import Fence, Kind, Login, Manager, Verdict
from rotation.connectors.ssh.connector import SshConnector, SshScanner
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from tests import networks, services
from tests.bench import recorded
from tests.lab_fixtures import KeyPair
from tests.wires.ssh_rig import FIRST, SECOND

CONSOLE = "6f1d5d3e-0000-4000-8000-000000000001"


def test_a_recorded_host_lets_in_what_it_was_told_last_and_nothing_else(
    host: Host, management_key: KeyPair
) -> None:
    old, new = key_pairs.generate("ed25519"), key_pairs.generate("ed25519")
    said = recorded.rotated(host, management_key, FIRST, old.public_key)
    port = services.free_port()
    manager = Manager(Login("keyturn", private_key=Plaintext(management_key.private)))

    def log_in(**credential: Plaintext) -> Verdict:
        username = recorded.PASSWORDS if "password" in credential else recorded.KEYS
        return connector.prove_login(Login(username, **credential), timeout=20).verdict

    with recorded.served(said, FIRST, old.public_key, port, 2):
        place = networks.endpoint(recorded.address(1), port)
        keys = SshScanner().scan(place, timeout=20)
        connector = SshConnector(networks.endpoint(place.address, port, tuple(key.line for key in keys)))
        common = {"fence": Fence(CONSOLE, 7), "timeout": 20.0}
        with connector.shared():
            assert not connector.preflight(
                manager, recorded.PASSWORDS, timeout=20, console_id=CONSOLE
            ).blocked
            proof = connector.set_password(manager, recorded.PASSWORDS, Plaintext(SECOND), **common)
            assert proof is not None
            assert proof.verdict == Verdict.ACCEPTED
            connector.add_key(manager, recorded.KEYS, new.public_key, like=old.public_key, **common)
            assert log_in(private_key=new.private_key) == log_in(private_key=old.private_key) == "accepted"
            connector.remove_key(manager, recorded.KEYS, old.public_key, **common)
            look = connector.preflight(
                manager,
                recorded.KEYS,
                timeout=20,
                console_id=CONSOLE,
                kind=Kind.KEY,
                public_key=new.public_key,
            )
        assert look.generation == 7
        assert log_in(password=Plaintext(SECOND)) == log_in(private_key=new.private_key) == "accepted"
        assert log_in(password=Plaintext(FIRST)) == log_in(private_key=old.private_key) == "rejected"
