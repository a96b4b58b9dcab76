"""The account that Keyturn itself works as, changed on a real host: the session that stays open, and sudo."""

from __future__ import annotations

import pytest

from lab import Host
from rotation import runs
from rotation.inventory import management
from secrets_app.models import Secret
from tests import factories, lab_instances
from tests.lab_fixtures import KeyPair, NewHost
from tests.wires.test_rotation import OLD, advance, current

pytestmark = pytest.mark.django_db(transaction=True)


def own_login(host: Host, key: KeyPair) -> Secret:
    """Make a secret of an account that may use sudo with its own password, and the instance's login."""
    host.add_account("boss", password=OLD)
    host.write("/etc/sudoers.d/boss", "boss ALL=(root) ALL\n", 0o440)
    instance = lab_instances.register(host, key)
    made = factories.secret(instance=instance, username="boss", initial=OLD)
    assert advance(made.runs.get()).outcome == "succeeded"
    management.use_own_login(instance, made, sudo="password", actor=factories.administrator())
    return Secret.objects.get(pk=made.pk)


def rotate(secret: Secret):
    secret = Secret.objects.get(pk=secret.pk)
    return advance(runs.start(secret, actor=factories.administrator()))


def test_the_login_that_keyturn_works_as_rotates_with_its_sudo_password(
    new_host: NewHost, management_key: KeyPair
) -> None:
    host = new_host()
    secret = own_login(host, management_key)
    for _ in range(2):
        run = rotate(secret)
        assert run.outcome == "succeeded", f"{run.code}: {run.sentence}"
        assert host.shadow_accepts("boss", current(secret))
    assert not host.shadow_accepts("boss", OLD)


def test_a_new_value_that_sshd_does_not_let_in_is_taken_back(
    new_host: NewHost, management_key: KeyPair
) -> None:
    """After the change PAM refuses its logins: only the session that is still open can set the old one."""
    host = new_host()
    secret = own_login(host, management_key)
    host.write(
        "/usr/local/sbin/shut",
        '#!/bin/sh\n[ "$PAM_USER" != boss ] || [ ! -e /var/lib/keyturn/changed ]\n',
        0o755,
    )
    pam = host.read("/etc/pam.d/sshd")
    host.write("/etc/pam.d/sshd", "auth required pam_exec.so quiet /usr/local/sbin/shut\n" + pam)
    host.run(["mv", "/usr/sbin/chpasswd", "/usr/sbin/chpasswd.real"])
    # The first change shuts the door, the second one opens it again.
    host.write(
        "/usr/sbin/chpasswd",
        '#!/bin/sh\n/usr/sbin/chpasswd.real "$@" || exit\nf=/var/lib/keyturn/changed\n'
        "if [ -e $f ]; then rm $f; else : >$f; fi\n",
        0o755,
    )
    run = rotate(secret)
    assert (run.outcome, run.truth, run.code) == ("failed", "old", "login_failed"), run.sentence
    assert current(secret) == OLD
    assert host.shadow_accepts("boss", OLD)
