"""Windows instances on the screens: registered, approved, attached and given a secret, in their own words."""

from __future__ import annotations

import pytest
from django.urls import reverse

from rotation.connectors import base
from rotation.inventory import holding, management
from rotation.models import HostKey, Instance, ManagementCredential, Run
from secrets_app.crypto.plaintext import Plaintext
from tests import factories
from tests.screens.test_instances import scanned

pytestmark = pytest.mark.django_db
CERTIFICATE = base.HostKey("x509", "MIIB", "AB" * 32)
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


def page(client, instance: Instance, name: str = "instance") -> str:
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
    scanned(instance, base.HostKey("x509", "MIIC", "CD" * 32))
    changed = page(as_dot, instance)
    assert "Certificate changed" in changed
    for text in (shown, asked, changed, page(as_dot, instance, "instance_attach")):
        words = text.lower().replace("host key scan", "")  # what a run of that kind is called, on any system
        assert not [word for word in ("host key", "sudo", "sshd") if word in words]


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
        "Enable-PSRemoting",
        "Add-LocalGroupMember",
        "Remove-LocalGroupMember",
    ):
        assert text in shown
    assert PASSWORD not in shown
    assert "sudo" not in shown.lower()


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
