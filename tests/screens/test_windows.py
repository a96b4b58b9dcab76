"""Windows instances on the screens: registered, approved, attached and given a secret, in their own words."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from django.urls import reverse
from django.utils import timezone

from lab.windows.certificates import Authority
from rotation.connectors import log_ons
from rotation.connectors.base import HostKey as HostKeySeen
from rotation.inventory import holding, management
from rotation.managed import rotation_options
from rotation.models import HostKey, Instance, ManagementCredential, Run
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import AuditEvent, Secret
from tests import factories
from tests.command_lines import run
from tests.screens.test_instances import scanned

pytestmark = pytest.mark.django_db
CERTIFICATE = HostKeySeen("x509", "MIIB", "AB" * 32)
PASSWORD = "The-manager-1-word"


def register(client, **changes: object):
    region = factories.region()
    fields = {"system": "winrm", "name": "win-1", "region": str(region.pk), "address": "10.0.0.5"} | changes
    return client.post(reverse("instance_register", args=["main"]), fields)


def create(client, **changes: object):
    fields = {"system": "winrm", "name": "windows-fleet", "username": "CORP\\keyturn", "password": PASSWORD}
    return client.post(reverse("credential_create"), fields | changes)


def windows(**fields: object) -> Instance:
    return factories.instance(wire="winrm", os="windows", port=5986, keys=[CERTIFICATE], **fields)


def page(client, instance: Instance | Secret, name: str = "instance") -> str:
    return client.get(reverse(name, args=["main", instance.pk])).content.decode()


def test_registering_asks_for_the_system_and_takes_its_usual_port(as_dot):
    form = as_dot.get(reverse("instance_register", args=["main"])).content.decode()
    assert form.index("Windows over WinRM") < form.index("Address")
    credential = factories.credential(wire="winrm")
    assert register(as_dot, credential=str(credential.pk)).status_code == 302
    made = Instance.objects.get()
    assert (made.os, made.wire, made.port, made.credential) == ("windows", "winrm", 5986, credential)
    assert [run.kind for run in made.runs.all()] == [Run.Kind.SCAN]
    assert register(as_dot, system="ssh", name="web-1", address="10.0.0.6").status_code == 302
    other = Instance.objects.get(name="web-1")
    assert (other.os, other.wire, other.port) == ("linux", "ssh", 22)


def test_what_belongs_to_another_system_is_refused_with_its_sentence(as_dot):
    linux, windows_login = factories.credential(), factories.credential(wire="winrm")
    for fields, sentence in (
        ({"credential": str(linux.pk)}, "is for Linux over SSH; the instance is Windows over WinRM"),
        (
            {"system": "ssh", "credential": str(windows_login.pk)},
            "is for Windows over WinRM; the instance is Linux over SSH",
        ),
        ({"port": "22"}, "SSH listens on 22. WinRM is usually on 5986"),
        ({"system": "ssh", "port": "5986"}, "WinRM listens on 5986. SSH is usually on 22"),
        ({"system": "telnet"}, "Choose a system from the list."),
    ):
        answer = register(as_dot, **fields)
        assert answer.status_code == 422, fields
        assert sentence in answer.content.decode()
    assert not Instance.objects.exists()


def test_a_credential_for_one_system_is_attached_to_no_instance_of_another(as_dot):
    instance, other = windows(), factories.credential()
    answer = as_dot.post(
        reverse("instance_attach", args=["main", instance.pk]), {"credential": str(other.pk)}
    )
    assert answer.status_code == 422
    assert "is for Linux over SSH" in answer.content.decode()
    with pytest.raises(holding.OtherSystem):
        management.attach(instance, other, actor=factories.administrator())
    instance.refresh_from_db()
    assert instance.credential_id != other.pk


def test_its_pages_speak_of_certificates_and_not_of_host_keys_or_sudo(as_dot):
    instance = windows(approved=False)
    scanned(instance, CERTIFICATE)
    shown = page(as_dot, instance)
    for label in ("Certificates", "Scan certificate", "Approve certificate", CERTIFICATE.fingerprint):
        assert label in shown
    asked = page(as_dot, instance, "instance_approve")
    assert "Trust exactly these certificates" in asked
    assert "Get-Item WSMan:" in asked
    answer = as_dot.post(
        reverse("instance_approve", args=["main", instance.pk]), {"fingerprints": [CERTIFICATE.fingerprint]}
    )
    assert answer.status_code == 302
    assert HostKey.objects.trusted(instance).get().fingerprint == CERTIFICATE.fingerprint
    scanned(instance, HostKeySeen("x509", "MIIC", "CD" * 32))
    changed = page(as_dot, instance)
    assert "Certificate changed" in changed
    for text in (shown, asked, changed, page(as_dot, instance, "instance_attach")):
        assert not [word for word in ("host key", "sudo", "sshd") if word in text.lower()]


def test_a_credential_for_windows_has_a_password_and_shows_the_commands_for_powershell(as_dot):
    answer = create(as_dot)
    assert answer.status_code == 302
    made = ManagementCredential.objects.get()
    assert (made.wire, made.username, made.sudo) == ("winrm", "CORP\\keyturn", "none")
    assert made.has_password
    assert not made.public_key
    shown = as_dot.get(answer["Location"]).content.decode()
    for text in (
        "Windows over WinRM",
        "Start-Service WinRM",
        "Add-LocalGroupMember",
        "Remove-LocalGroupMember",
    ):
        assert text in shown
    assert PASSWORD not in shown
    assert "sudo" not in shown.lower()


def test_a_credential_by_kerberos_is_for_an_account_of_a_domain_alone(as_dot):
    for name in ("keyturn", "CORP\\keyturn", "keyturn@", "key turn@CORP"):
        answer = create(as_dot, system="winrm-kerberos", username=name)
        assert answer.status_code == 422, name
        assert "user@REALM" in answer.content.decode()
    assert not ManagementCredential.objects.exists()
    answer = create(as_dot, system="winrm-kerberos", username="keyturn@CORP.EXAMPLE.COM")
    made = ManagementCredential.objects.get()
    assert (made.wire, made.sudo, made.has_password) == ("winrm-kerberos", "none", True)
    shown = as_dot.get(answer["Location"]).content.decode()
    assert "Windows over WinRM, by Kerberos" in shown
    assert "New-LocalUser" not in shown


def test_an_instance_of_windows_takes_a_credential_by_kerberos_and_a_linux_one_does_not(as_dot):
    made = factories.credential(wire="winrm-kerberos", username="keyturn@CORP.EXAMPLE.COM")
    dot = factories.administrator()
    instance = windows()
    management.attach(instance, made, actor=dot)
    over = management.endpoint(instance)
    assert management.manager(instance, over=over).login.by_kerberos
    management.attach(instance, factories.credential(wire="winrm"), actor=dot)
    assert not management.manager(instance, over=over).login.by_kerberos
    with pytest.raises(holding.OtherSystem):
        management.attach(factories.instance(), made, actor=dot)
    assert "winrm-kerberos" not in page(as_dot, instance)


def test_a_credential_for_windows_refuses_what_only_linux_has(as_dot):
    for fields, sentence in (
        ({"username": "key turn"}, "The account name is user, HOST\\user, DOMAIN\\user or user@domain"),
        ({"password": ""}, "password"),
        ({"system": "ssh", "login": "own", "sudo": "none"}, "begins with a letter or _"),
    ):
        answer = create(as_dot, **fields)
        assert answer.status_code == 422, fields
        assert sentence in answer.content.decode()
    dot = factories.administrator()
    with pytest.raises(management.BadAccount, match="not with a key"):
        management.create_credential("one", "keyturn", wire="winrm", sudo="none", actor=dot)
    with pytest.raises(management.BadAccount, match="no sudo"):
        management.create_credential(
            "two", "keyturn", wire="winrm", sudo="passwordless", actor=dot, password=Plaintext(PASSWORD)
        )
    assert not ManagementCredential.objects.exists()


def test_the_wizard_says_why_only_passwords_are_offered_and_refuses_what_windows_may(as_dot):
    instance = windows(name="win-1")
    asked = as_dot.get(reverse("secret_create_instance", args=["main"]), {"instance": "win-1"})
    assert "WinRM" in asked.content.decode()
    assert "key pairs" in asked.content.decode()
    factories.instance(name="web-1")
    other = as_dot.get(reverse("secret_create_instance", args=["main"]), {"instance": "web-1"})
    assert "key pairs" not in other.content.decode()
    assert 'name="kind"' not in asked.content.decode()  # the page that asked shows no other kinds
    shown = {"instance": "win-1", "kinds": "password key_pair", "kind": "key_pair"}
    only = as_dot.get(reverse("secret_create_instance", args=["main"]), shown).content.decode()
    assert 'id="wizard-kind" hx-swap-oob="true"' in only
    assert re.findall(r'name="kind" value="(\w+)"[^>]*?( checked)?>', only) == [("password", " checked")]
    shown = {"instance": "web-1", "kinds": "password", "kind": "password"}
    both = as_dot.get(reverse("secret_create_instance", args=["main"]), shown).content.decode()
    assert [kind for kind, _ in re.findall(r'name="kind" value="(\w+)"[^>]*?( checked)?>', both)] == [
        "password",
        "key_pair",
    ]
    for fields, sentence in (
        ({"kind": "key_pair"}, "key pairs"),
        ({"username": "svc.web."}, "A local Windows account has 1 to 20 letters"),
        ({"username": "CORP\\svc"}, "A local Windows account has 1 to 20 letters"),
        ({"username": "svc@corp"}, "A local Windows account has 1 to 20 letters"),
        ({"username": "svc web"}, "A local Windows account has 1 to 20 letters"),
        ({"username": 'svc"web'}, "A local Windows account has 1 to 20 letters"),
        ({"username": "a" * 21}, "A local Windows account has 1 to 20 letters"),
        ({"username": "12345"}, "is not digits alone"),
        ({"sets": ["lower", "digits"]}, "Choose at least 3."),
    ):
        answer = as_dot.post(reverse("secret_create", args=["main"]), wizard(instance) | fields)
        assert answer.status_code == 422, fields
        assert sentence in answer.content.decode()
    for username in ("CORP\\svc", "svc@corp", "a" * 21, "12345"):
        ended = run(
            f"secret create one --region main --instance win-1 --account {username} --as dot", given=PASSWORD
        )
        assert ended.said["error"]["code"] == "username_invalid"
        assert "A local Windows account has 1 to 20 letters" in ended.said["error"]["sentence"]
    made = as_dot.post(reverse("secret_create", args=["main"]), wizard(instance))
    assert made.status_code == 302, made.content.decode()
    assert Secret.objects.get().managed.instance == instance


def wizard(instance: Instance) -> dict[str, object]:
    return {
        "type": "ecs",
        "name": "svc",
        "instance": instance.name,
        "username": "svc.web",
        "kind": "password",
        "generate": "on",
        "length": "32",
        "sets": ["lower", "upper", "digits"],
        "rotation": "off",
    }


def test_the_policy_of_a_secret_on_windows_keeps_three_sets_when_it_is_edited(as_dot):
    secret = factories.secret(instance=windows())
    fields = {"revision": secret.revision, "length": "40", "sets": ["lower", "upper"], "excluded": ""}
    answer = as_dot.post(reverse("secret_edit", args=["main", secret.pk]), fields)
    assert answer.status_code == 422
    assert "Choose at least 3." in answer.content.decode()


def test_ending_sessions_is_not_offered_where_it_cannot_be_done(as_dot):
    instance = windows()
    secret = factories.secret(instance=instance, initial="The-old-1-word")
    factories.settle(secret)
    asked = page(as_dot, secret, "secret_edit")
    assert "Prove once that the old password" in asked
    assert "sessions after each rotation" not in asked
    assert "end them on the instance" in page(as_dot, secret, "secret_rotate")
    options = {"proves_old_refused": False, "reconciles": False}
    with pytest.raises(rotation_options.CannotEndSessions, match="Over WinRM, Keyturn cannot end sessions"):
        rotation_options.change_options(
            secret, actor=factories.administrator(), ends_sessions=True, **options
        )
    answer = as_dot.post(reverse("secret_create", args=["main"]), wizard(instance) | {"ends_sessions": "on"})
    assert answer.status_code == 422
    assert "Over WinRM, Keyturn cannot end sessions" in answer.content.decode()


def test_a_shown_value_comes_with_a_file_for_remote_desktop_that_holds_no_password(as_dot):
    instance = windows(address="192.0.2.7")
    secret = factories.secret(instance=instance, username="svc", initial="The-old-1-word")
    answer = as_dot.post(reverse("secret_reveal", args=["main", secret.pk]), {"reason": "on call"})
    page = answer.content.decode()
    assert "mstsc /v:192.0.2.7" in page
    assert f'download="{instance.instance_id}.rdp"' in page
    (packed,) = re.findall(r"data:application/x-rdp;base64,([A-Za-z0-9+/=]+)", page)
    file = base64.b64decode(packed).decode()
    assert file == ("full address:s:192.0.2.7\r\nusername:s:192.0.2.7\\svc\r\nprompt for credentials:i:1\r\n")


def test_no_name_or_address_puts_another_setting_into_the_file():
    assert log_ons.remote_desktop("svc", "192.0.2.7", 5986, "").file
    for name, address in (
        ("svc\r\nalternate shell:s:calc", "192.0.2.7"),
        ("svc\nremoteapplicationmode:i:1", "192.0.2.7"),
        ("svc", "192.0.2.7\rgatewayhostname:s:evil"),
        ("svc\u2028x", "192.0.2.7"),
    ):
        assert log_ons.remote_desktop(name, address, 5986, "").file == ""


def test_an_approved_certificate_that_expires_soon_is_said_and_one_that_waits_or_lasts_is_not(as_dot):
    def shown(days: int, address: str, **fields: object) -> str:
        key = HostKeySeen("x509", certificate(days), f"{days:064d}")
        instance = factories.instance(
            wire="winrm", os="windows", port=5986, keys=[key], address=address, **fields
        )
        return page(as_dot, instance)

    sentence = "An approved certificate expires"
    assert sentence in shown(5, "192.0.2.1")
    assert sentence in shown(-5, "192.0.2.2")
    assert sentence not in shown(300, "192.0.2.3")
    assert sentence not in shown(5, "192.0.2.4", approved=False)
    assert sentence not in page(as_dot, windows())  # what is no certificate has no dates


def certificate(days: int) -> str:
    """One that ends in so many days, as a host key's blob has it."""
    key, now = ec.generate_private_key(ec.SECP256R1()), timezone.now()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "win-1")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=400))
        .not_valid_after(now + timedelta(days=days))
        .sign(key, hashes.SHA256())
    )
    return base64.b64encode(made.public_bytes(serialization.Encoding.DER)).decode()


# ---------------------------------------------------------------- how it connects, and whom it trusts


def with_authority(client, authority: Authority, **changes: object):
    return register(client, transport="authority", authority=authority.pem, **changes)


def edit(client, instance: Instance, **changes: object):
    instance.refresh_from_db()
    fields = {name: getattr(instance, name) for name in ("name", "address", "port", "revision")} | changes
    return client.post(reverse("instance_edit", args=["main", instance.pk]), fields)


def trusted(instance: Instance) -> set[tuple[str, str]]:
    instance.refresh_from_db()
    return set(HostKey.objects.trusted(instance).values_list("algorithm", "fingerprint"))


def test_an_authority_that_is_given_is_trusted_from_the_start_and_recorded(as_dot):
    authority = Authority()
    assert with_authority(as_dot, authority).status_code == 302
    instance = Instance.objects.get()
    fingerprint = hashlib.sha256(authority.der).hexdigest().upper()
    assert trusted(instance) == {("x509-ca", fingerprint)}
    event = AuditEvent.objects.get(action="kms:ApproveHostKey")
    assert (event.details["fingerprints"], event.details["authority"]) == ([fingerprint], True)
    scanned(instance, CERTIFICATE)
    shown = page(as_dot, instance)
    assert "By an authority" in shown
    assert fingerprint in shown
    ends = x509.load_der_x509_certificate(authority.der).not_valid_after_utc
    assert f"{ends:%Y-%m-%d}" in shown
    assert "Certificate changed" not in shown
    assert "Approve certificate" not in shown
    asked = page(as_dot, instance, "instance_approve")
    assert fingerprint not in asked


def test_what_is_no_fit_authority_or_no_safe_connection_is_refused_with_its_sentence(as_dot):
    one, other = Authority(), Authority()
    leaf = one.issue("good", "10.0.0.5")
    past = Authority(days=(-30, -1))
    for fields, sentence in (
        ({"authority": ""}, "Paste the certificate of the authority."),
        ({"authority": "hello"}, "Paste the whole certificate"),
        ({"authority": one.pem[:-60]}, "Paste the whole certificate"),
        ({"authority": leaf.pem.decode()}, "This is no certificate of an authority."),
        ({"authority": one.pem + leaf.key.decode()}, "This holds a private key."),
        ({"authority": one.pem + other.pem}, "These are 2 certificates."),
        ({"authority": past.pem}, "This certificate expired on"),
        ({"authority": "x" * 20_000}, "That is too long for one certificate."),
        ({"authority": one.pem + "\0"}, "Null characters are not allowed."),
        ({"transport": "basic", "authority": one.pem}, "Basic authentication over HTTP"),
        ({"transport": "ignore", "authority": one.pem}, "certificates that are not checked"),
    ):
        answer = register(as_dot, **{"transport": "authority"} | fields)
        assert answer.status_code == 422, fields
        assert sentence in html.unescape(answer.content.decode())
        assert leaf.key.decode().splitlines()[1] not in answer.content.decode()
    assert not Instance.objects.exists()


def test_an_authority_needs_the_right_to_approve_and_is_changed_with_a_record(as_dot):
    factories.deny("kms:ApproveHostKey")
    answer = with_authority(as_dot, Authority())
    assert answer.status_code == 422
    assert not Instance.objects.exists()
    instance = windows(credential=factories.credential(wire="winrm"))
    answer = edit(as_dot, instance, transport="authority", authority=Authority().pem)
    assert answer.status_code == 422
    assert trusted(instance) == {("x509", CERTIFICATE.fingerprint)}
    assert instance.credential is not None
    assert edit(as_dot, instance, name="renamed", transport="https").status_code == 302
    assert (trusted(instance), instance.name) == ({("x509", CERTIFICATE.fingerprint)}, "renamed")


def test_another_authority_or_none_any_more_detaches_the_credential(as_dot):
    first, second = Authority(), Authority()
    credential = factories.credential(wire="winrm")
    instance = windows(credential=credential)
    for given, kind, is_detached in (
        ({"transport": "authority", "authority": first.pem}, {"x509-ca"}, True),
        ({"transport": "authority", "authority": ""}, {"x509-ca"}, False),
        ({"transport": "authority", "authority": first.pem}, {"x509-ca"}, False),
        ({"transport": "authority", "authority": second.pem}, {"x509-ca"}, True),
        ({"transport": "https"}, set(), True),
    ):
        management.attach(instance, credential, actor=factories.administrator())
        assert edit(as_dot, instance, **given).status_code == 302
        assert {algorithm for algorithm, _ in trusted(instance)} == kind, given
        assert (instance.credential is None) == is_detached, given
    assert AuditEvent.objects.filter(action="kms:ApproveHostKey", actor_name="dot").count() == 3
    for word in ("transport", "authority"):
        assert f'name="{word}"' in page(as_dot, instance, "instance_edit")
        assert f'name="{word}"' not in page(as_dot, factories.instance(), "instance_edit")


def test_an_instance_over_http_has_a_name_to_compare_and_takes_the_same_credentials(as_dot):
    credential = factories.credential(wire="winrm")
    assert register(as_dot, transport="http", port="5986").status_code == 422
    assert register(as_dot, transport="http", credential=str(credential.pk)).status_code == 302
    instance = Instance.objects.get()
    assert (instance.os, instance.wire, instance.port) == ("windows", "winrm-http", 5985)
    scanned(instance, HostKeySeen("ntlm-name", "V0lOLTAx", "WIN-01"))
    asked = page(as_dot, instance, "instance_approve")
    assert "$env:COMPUTERNAME" in asked
    shown = page(as_dot, instance)
    for words in ("WinRM over HTTP", "Approve computer name", "WIN-01"):
        assert words in shown
    as_dot.post(reverse("instance_approve", args=["main", instance.pk]), {"fingerprints": ["WIN-01"]})
    assert trusted(instance) == {("ntlm-name", "WIN-01")}
    management.attach(instance, credential, actor=factories.administrator())
    # What was trusted over one way counts for no other, and the credential is attached again by a user.
    answer = edit(as_dot, instance, transport="https", port="5986")
    assert answer.status_code == 302
    assert trusted(instance) == set()
    assert (instance.wire, instance.credential) == ("winrm", None)
    assert "Its address changed." in page(as_dot, instance)
    assert edit(as_dot, instance, transport="http").status_code == 422
    edit(as_dot, instance, port="7000")
    assert edit(as_dot, instance, transport="http").status_code == 302
    assert "How Keyturn connects to it changed." in page(as_dot, instance)
