"""Every root key provider keeps one contract, whatever happens to the place of its key."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from console import settings as product
from secrets_app import root_keys
from secrets_app.crypto import envelope
from secrets_app.root_keys import Unavailable, addresses, deadlines, wrapped
from secrets_app.root_keys import token as tokens
from tests import kms_servers, root_key_rigs
from tests.root_key_rigs import RIGS, Rig, TokenRig, VaultRig

MATERIAL = bytes(range(64))
REMOTE = [name for name, rig in RIGS.items() if rig.is_remote]
MAKERS = [name for name, rig in RIGS.items() if rig.makes]


@pytest.fixture(params=list(RIGS))
def rig(request, tmp_path, monkeypatch):
    with root_key_rigs.rigged(request.param, tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def token(tmp_path, monkeypatch):
    with root_key_rigs.rigged("pkcs11", tmp_path, monkeypatch) as made:
        yield made


@pytest.fixture
def vault(tmp_path, monkeypatch):
    with root_key_rigs.rigged("vault", tmp_path, monkeypatch) as made:
        yield made


# ---------------------------------------------------------------- the contract


def test_material_opens_as_it_was_and_looks_different_each_time(rig):
    provider = rig.provider()
    one, other = provider.wrap(MATERIAL), provider.wrap(MATERIAL)
    assert one != other
    assert MATERIAL not in one
    assert max(len(one), len(other)) <= wrapped.AT_MOST_BYTES
    assert rig.provider().unwrap(one) == rig.provider().unwrap(other) == MATERIAL


def test_every_flipped_bit_is_noticed(rig):
    provider = rig.provider()
    sealed = provider.wrap(MATERIAL)
    # 7 and 53 have no divisor in common with 8. A service is asked for each.
    step = 1 if not rig.is_remote else 7 if isinstance(rig, TokenRig) else 53
    places = range(0, len(sealed) * 8, step)
    for place in places:
        changed = bytearray(sealed)
        changed[place // 8] ^= 1 << (place % 8)
        with pytest.raises(envelope.Tampered):
            provider.unwrap(bytes(changed))
    for short in (b"", sealed[:3], sealed[:-1]):
        with pytest.raises(envelope.Tampered):
            provider.unwrap(short)
    assert provider.unwrap(sealed) == MATERIAL


def test_what_another_key_of_the_same_provider_wrapped_does_not_open(rig):
    provider, other = rig.provider(), rig.provider(rig.other)
    assert provider.key_id() != other.key_id()
    with pytest.raises(envelope.Tampered):
        provider.unwrap(other.wrap(MATERIAL))
    with pytest.raises(envelope.Tampered):
        other.unwrap(provider.wrap(MATERIAL))


def test_what_another_provider_wrapped_does_not_open(rig, tmp_path, monkeypatch):
    sealed = rig.provider().wrap(MATERIAL)
    for name in {"file", "vault"} - {type(rig).__name__.removesuffix("Rig").lower()}:
        folder = tmp_path / name
        folder.mkdir()
        with root_key_rigs.rigged(name, folder, monkeypatch) as other:
            if other.provider().key_id() == rig.provider().key_id():
                continue  # pragma: no cover - two rigs never share a key
            with pytest.raises(envelope.Tampered):
                other.provider().unwrap(sealed)


def test_the_key_id_stays_the_same_and_has_16_bytes(rig):
    assert rig.provider().key_id() == rig.provider().key_id()
    assert len(rig.provider().key_id()) == 16


def test_a_place_that_is_away_says_so_and_the_provider_finds_it_again_by_itself(rig):
    provider = rig.provider()
    sealed, before = provider.wrap(MATERIAL), provider.key_id()
    rig.go_away()
    provider.forget()
    for refused in (provider.key_id, lambda: provider.wrap(MATERIAL), lambda: provider.unwrap(sealed)):
        with pytest.raises(Unavailable):
            refused()
    rig.come_back()
    assert provider.key_id() == before
    assert provider.unwrap(sealed) == MATERIAL


def test_a_key_that_is_gone_is_unavailable_and_not_another_key_s(rig):
    provider = rig.provider()
    sealed = provider.wrap(MATERIAL)
    rig.lose_key()
    provider.forget()
    for refused in (provider.key_id, lambda: provider.wrap(MATERIAL), lambda: provider.unwrap(sealed)):
        with pytest.raises(Unavailable):
            refused()


def test_a_key_is_made_once_and_never_over_another(rig):
    provider = rig.provider()
    before = provider.key_id()
    assert not provider.make()
    assert provider.key_id() == before


def test_a_provider_whose_keys_are_made_elsewhere_makes_none(rig):
    if not rig.makes:
        rig.lose_key()
        assert not rig.provider().make()
        with pytest.raises(Unavailable):
            rig.provider().key_id()
    else:
        rig.lose_key()
        assert rig.provider().make()
        assert rig.provider().key_id()


def test_its_name_on_a_page_holds_no_secret(rig):
    shown = str(rig.provider()) + repr(rig.provider()) + root_keys.label(rig.address)
    for hidden in (root_key_rigs.PIN, kms_servers.TOKEN, "of-the-model"):
        assert hidden not in shown


@pytest.mark.parametrize("name", MAKERS)
def test_several_processes_that_make_the_first_key_at_once_make_one(name, tmp_path, monkeypatch):
    rig = RIGS[name]()
    rig.set_up(tmp_path, monkeypatch)
    script = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "import sys, django; django.setup()\n"
        "from secrets_app import root_keys\n"
        "key = root_keys.at(sys.argv[1]); print('ready', flush=True); input()\n"
        "made = key.make()\n"
        "import time\n"
        "for turn in range(600):\n"
        "    try:\n"
        "        print(made, key.key_id().hex()); break\n"
        "    except root_keys.Unavailable:\n"  # for a moment there may be two, or one that is half written
        "        time.sleep(0.05)\n"
    )
    makers = [
        subprocess.Popen(
            [sys.executable, "-c", script, rig.address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=product.BASE_DIR,
        )
        for _ in range(4)
    ]
    try:
        for maker in makers:
            assert maker.stdout.readline() == "ready\n"
        for maker in makers:
            maker.stdin.write("\n")
            maker.stdin.flush()
        told = [maker.communicate(timeout=120)[0].split() for maker in makers]
    finally:
        for maker in makers:
            maker.kill()
            maker.wait()
        rig.tear_down()
    assert len({key_id for _, key_id in told}) == 1
    made = [answer for answer, _ in told].count("True")
    # A transit engine takes the second making of a key for the first, so that several may think they made it.
    assert made >= 1 if name == "vault" else made == 1


# ---------------------------------------------------------------- slow


@pytest.mark.parametrize("name", REMOTE)
def test_a_provider_that_does_not_answer_is_unavailable_while_it_is_slow(name, tmp_path, monkeypatch):
    with root_key_rigs.rigged(name, tmp_path, monkeypatch) as rig:
        provider = root_key_rigs.hurried(rig)
        provider._seconds = 60.0
        sealed = provider.wrap(MATERIAL)
        provider._seconds = 0.5
        with rig.slow():
            for refused in (provider.key_id, lambda: provider.unwrap(sealed)):
                with pytest.raises(Unavailable, match="did not answer within"):
                    refused()
        provider._seconds = 30.0
        assert provider.unwrap(sealed) == MATERIAL


def test_callers_of_a_provider_that_hangs_do_not_pile_up(vault):
    provider = root_key_rigs.hurried(vault)
    provider._seconds = 0.01
    with vault.slow():
        for _ in range(deadlines.OPEN_CALLS * 2):
            with pytest.raises(Unavailable):
                provider.key_id()
        assert not provider._free.acquire(blocking=False)


def test_material_is_asked_for_again_only_after_a_while(vault, monkeypatch):
    provider = vault.provider()
    sealed = provider.wrap(MATERIAL)
    assert provider.unwrap(sealed) == MATERIAL
    before = len(vault.service.urls)
    assert provider.unwrap(sealed) == MATERIAL
    assert len(vault.service.urls) == before
    monkeypatch.setattr(deadlines, "REMEMBERED_SECONDS", 0.0)
    provider.forget()
    provider.unwrap(sealed)
    provider.unwrap(sealed)
    assert len(vault.service.urls) == before + 2


# ---------------------------------------------------------------- a token


def test_a_wrong_pin_is_refused_and_not_tried_again_until_the_file_says_another(token: TokenRig):
    token.pin.chmod(0o600)
    token.pin.write_text("9999\n")
    token.restart()  # nobody is logged in any more
    provider = token.provider()
    library = token.library()
    tried = []

    class Counted:
        def __init__(self, slot):
            self.slot = slot

        def get_token(self):
            found = self.slot.get_token()
            return CountedToken(found) if found.label == "keyturn" else found

    class CountedToken:
        def __init__(self, found):
            self.found, self.label, self.serial, self.flags = found, found.label, found.serial, found.flags

        def open(self, **how):
            tried.append(how.get("user_pin"))
            return self.found.open(**how)

    class CountedModule:
        def get_slots(self, **which):
            return [Counted(slot) for slot in module.get_slots(**which)]

        def reinitialize(self):
            module.reinitialize()

    module, library.module = library.module, CountedModule()
    try:
        for _ in range(5):
            with pytest.raises(Unavailable, match="PIN") as caught:
                provider.key_id()
            assert "9999" not in str(caught.value)
        assert tried == ["9999"]
        token.pin.write_text(f"{root_key_rigs.PIN}\n")
        assert provider.key_id()
    finally:
        library.module = module


def test_a_pin_is_read_only_from_a_file_that_nobody_else_reads(token: TokenRig):
    token.pin.chmod(0o644)
    with pytest.raises(Unavailable, match="open to other users"):
        token.provider().key_id()


def test_two_tokens_with_one_label_are_told_apart_by_their_serial_or_refused(token: TokenRig):
    provider = token.provider()
    sealed = provider.wrap(MATERIAL)
    serial = token.library().module.get_token(token_label="keyturn").serial.decode()
    token.add_token()
    token.restart()
    provider.forget()
    with pytest.raises(Unavailable, match=f"2 tokens are labelled keyturn.*{serial}"):
        token.provider().unwrap(sealed)
    assert token.provider(token.named("root", f";serial={serial}")).unwrap(sealed) == MATERIAL


def test_two_keys_with_one_label_are_refused(token: TokenRig):
    from pkcs11 import KeyType

    sealed = token.provider().wrap(MATERIAL)
    token.session().generate_key(KeyType.AES, 256, label="root", store=True)
    with pytest.raises(Unavailable, match="2 keys"):
        token.provider().unwrap(sealed)


def test_a_key_that_can_leave_the_token_is_refused(token: TokenRig):
    from pkcs11 import Attribute, KeyType

    token.session().generate_key(
        KeyType.AES, 256, label="loose", store=True, template={Attribute.EXTRACTABLE: True}
    )
    with pytest.raises(Unavailable, match="taken out of the token"):
        token.provider(token.named("loose")).wrap(MATERIAL)


def test_the_made_key_is_in_the_token_alone(token: TokenRig):
    from pkcs11 import Attribute
    from pkcs11.exceptions import AttributeSensitive

    key = token.session().get_key(label="root")
    assert (key[Attribute.SENSITIVE], key[Attribute.EXTRACTABLE]) == (True, False)
    with pytest.raises(AttributeSensitive):
        key[Attribute.VALUE]


def test_two_keys_of_one_token_are_used_side_by_side(token: TokenRig):
    one, other = token.provider(), token.provider(token.other)
    sealed = one.wrap(MATERIAL), other.wrap(MATERIAL)
    token.go_away()
    for provider in (one, other):
        provider.forget()
        with pytest.raises(Unavailable):
            provider.key_id()
    token.come_back()
    for _ in range(3):
        for provider, blob in zip((one, other), sealed, strict=True):
            provider.forget()
            assert provider.unwrap(blob) == MATERIAL


def test_a_process_that_was_forked_uses_the_token_by_itself(token: TokenRig):
    script = (
        "import os; os.environ['DJANGO_SETTINGS_MODULE'] = 'tests.settings'\n"
        "import sys, django; django.setup()\n"
        "from secrets_app import root_keys\n"
        "key = root_keys.at(sys.argv[1]); sealed = key.wrap(b'm' * 64)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    key.forget(); os._exit(0 if key.unwrap(sealed) == b'm' * 64 else 9)\n"
        "status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])\n"
        "key.forget(); assert key.unwrap(sealed) == b'm' * 64; sys.exit(status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, token.address], cwd=product.BASE_DIR, timeout=120, check=False
    )
    assert done.returncode == 0


# ---------------------------------------------------------------- services


def test_a_wrong_token_of_vault_is_named_by_its_file_and_a_renewed_one_is_read(vault: VaultRig):
    provider = vault.provider()
    sealed = provider.wrap(MATERIAL)
    vault.service.token = "a-renewed-token"
    provider.forget()
    with pytest.raises(Unavailable, match=str(vault.token)) as caught:
        provider.unwrap(sealed)
    assert kms_servers.TOKEN not in str(caught.value)
    vault.token.write_text("a-renewed-token\n")
    assert provider.unwrap(sealed) == MATERIAL


def test_vault_is_believed_only_with_its_certificate(vault: VaultRig, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    wrong, _ = kms_servers.certificate(other)
    with pytest.raises(Unavailable):
        vault.provider(vault.address.replace(str(vault.service.ca), str(wrong))).key_id()
    assert vault.service.urls.count("/v1/transit/keys/root") == 2  # of the set-up


@pytest.mark.parametrize("name", ["aws", "alibaba"])
def test_a_disabled_key_of_a_cloud_is_unavailable_until_it_is_enabled(name, tmp_path, monkeypatch):
    with root_key_rigs.rigged(name, tmp_path, monkeypatch) as rig:
        provider = rig.provider()
        sealed = provider.wrap(MATERIAL)
        rig.service.disabled.add("root")
        provider.forget()
        for refused in (provider.key_id, lambda: provider.wrap(MATERIAL), lambda: provider.unwrap(sealed)):
            with pytest.raises(Unavailable):
                refused()
        rig.service.disabled.clear()
        assert provider.unwrap(sealed) == MATERIAL


@pytest.mark.parametrize("name", ["vault", "aws", "alibaba"])
def test_no_address_of_a_request_holds_material(name, tmp_path, monkeypatch):
    import base64
    from urllib.parse import unquote

    with root_key_rigs.rigged(name, tmp_path, monkeypatch) as rig:
        provider = rig.provider()
        assert provider.unwrap(provider.wrap(MATERIAL)) == MATERIAL
        asked = " ".join(unquote(url) for url in rig.service.urls)
        assert asked
        for form in (MATERIAL.hex(), base64.b64encode(MATERIAL).decode()):
            assert form not in asked
            assert form[4:40] not in asked
        assert "Plaintext" not in asked


# ---------------------------------------------------------------- addresses


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("hsm:x", "begins with one of"),
        ("file:root.key", "absolute"),
        ("pkcs11:token=a?module-path=/m&pin-source=file:/p", "token=LABEL;object=LABEL"),
        ("pkcs11:token=a;object=b?module-path=m&pin-source=file:/p", "module-path"),
        ("pkcs11:token=a;object=b?module-path=/m&pin-source=/p", "pin-source"),
        ("pkcs11:token=a;object=b?module-path=/m", "pin-source is missing"),
        ("pkcs11:token=a;object=b?module-path=/m&pin-value=5678", "A PIN does not stand in the address"),
        ("vault+https://v/transit/keys/k", "token-file is missing"),
        ("vault+https://u:5678@v/transit/keys/k?token-file=/t", "no user or password"),
        ("vault+https://v/k?token-file=/t", "transit/keys/NAME"),
        ("vault+http://vault.example.com/transit/keys/k?token-file=/t", "vault\\+https"),
        ("awskms:key/1", "ARN"),
        ("awskms:arn:aws:kms:eu-west-1:111122223333:key/1?endpoint=http://x", "https"),
        ("alibabakms:key-1", "region is missing"),
        ("systemd-credential:../root.key", "LoadCredential"),
        ("file:/k?pin=5678", "pin is unknown"),
        ("vault+https://v/transit/keys/k?token-file=/t&token-file=/u", "stands twice"),
    ],
)
def test_an_address_that_is_wrong_is_refused_with_its_part_and_without_a_secret(text, words):
    with pytest.raises(addresses.BadAddress, match=words) as caught:
        addresses.parse(text)
    assert "5678" not in str(caught.value)


def test_a_wrong_address_stops_the_start_with_its_variable(tmp_path):
    import os

    done = subprocess.run(
        [sys.executable, "manage.py", "check"], capture_output=True, text=True, check=False,
        cwd=product.BASE_DIR,
        env=os.environ | {"KEYTURN_ROOT_KEY": "pkcs11:x", "DJANGO_SETTINGS_MODULE": "console.settings"},
    )  # fmt: skip
    assert "KEYTURN_ROOT_KEY: pkcs11" in done.stderr


def test_a_systemd_credential_that_others_can_read_is_refused(tmp_path, monkeypatch):
    with root_key_rigs.rigged("systemd", tmp_path, monkeypatch) as rig:
        file = Path(rig.folder) / "root.key"
        file.chmod(0o440)  # as systemd's access list for the service's user shows
        assert rig.provider().key_id()
        file.chmod(0o444)
        with pytest.raises(Unavailable, match="open to other users"):
            rig.provider().key_id()
        monkeypatch.delenv("CREDENTIALS_DIRECTORY")
        with pytest.raises(Unavailable, match="CREDENTIALS_DIRECTORY"):
            rig.provider().key_id()


def test_a_provider_in_words_is_there_for_every_scheme():
    assert set(addresses.OPTIONS) == set(root_keys.PROVIDERS)
    assert Rig.makes


def test_threads_that_come_first_at_once_share_one_library(monkeypatch):
    """With one each, the first that starts its own afresh would end the sessions of the other's users."""
    start, made = threading.Barrier(4), []

    def load(path: str, is_forked: bool) -> object:
        made.append(path)
        time.sleep(0.2)  # the others come in meanwhile, unless they wait
        return object()

    def come() -> object:
        start.wait(60)
        return tokens._library("/nowhere/module.so", os.getpid())

    monkeypatch.setattr(tokens, "_Library", load)
    with ThreadPoolExecutor(4) as pool:
        found = {id(done.result(60)) for done in [pool.submit(come) for _ in range(4)]}
    tokens._loaded.cache_clear()
    assert (len(found), len(made)) == (1, 1)
