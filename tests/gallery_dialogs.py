"""Applications, access keys, invitations, sessions and background actions, and the dialogs about them.

Some open by a press only: their screen says how.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta

from django.utils import timezone
from playwright.sync_api import Page

from rotation.bulk import bulk_actions
from rotation.inventory import identities
from rotation.models import BulkAction, ManagedAccount
from secrets_app.actions import Action, principal_arn
from secrets_app.models import AccessKey, Principal, Secret, User
from secrets_app.people import access_keys, invitations, machines
from secrets_app.policy import policies
from secrets_app.secrets import resource_policies
from tests import factories

Press = Callable[[Page], None]


def seed(viewer: User) -> None:
    """Make them, once on each site."""
    if Principal.objects.filter(name="deployer").exists():
        return
    actor = factories.administrator()
    _applications(actor)
    invitations.invite("ola", actor=actor, groups=["helpdesk"], display_name="Ola Berg")
    _resource_policy(actor)
    _other_machine(actor)
    _paused(viewer)


def _applications(actor: Principal) -> None:
    deployer, idle = (machines.create(name, actor=actor) for name in ("deployer", "old-backup"))
    reads = policies.create("deployments", policies.document(["kms:GetSecretValue"]), actor=actor)
    policies.attach(reads, deployer, actor=actor)
    used, _ = access_keys.create(deployer, actor=actor, networks=["10.20.0.0/16", "2001:db8::/48"])
    access_keys.disable(access_keys.create(deployer, actor=actor)[0], actor=actor)
    AccessKey.objects.filter(pk=used.pk).update(
        last_used_at=timezone.now() - timedelta(minutes=7),
        last_used_from="10.20.0.9",
        last_used_for=Action.GET_SECRET_VALUE.value,
        expires_at=timezone.now() + timedelta(days=90),
    )
    machines.disable(idle, actor=actor, reason="Replaced by deployer")


def _resource_policy(actor: Principal) -> None:
    secret = Secret.objects.get(name="acs/ecs/db/dba")
    statement = {
        "Effect": "Allow",
        "Principal": {"RAM": [principal_arn("deployer", account=secret.account.number)]},
        "Action": ["kms:DescribeSecret", "kms:GetSecretValue"],
        "Resource": "*",
    }
    resource_policies.put(
        secret, json.dumps({"Version": "1", "Statement": [statement]}, indent=2), actor=actor
    )


def _other_machine(actor: Principal) -> None:
    """An instance that was installed again: what it has proven before counts for the other machine."""
    host = factories.instance(name="reinstalled-01")
    secret = factories.secret(instance=host, username="svc", name="ask/moved", initial="an-initial-value-1")
    factories.settle(secret)
    ManagedAccount.objects.filter(secret=secret).update(credential="in_sync")
    key = factories.host_key()
    identities.see_host_keys(host, [key])
    identities.approve_host_keys(host, [key.fingerprint], actor=actor)


def _paused(viewer: User) -> None:
    """A background action that its user has paused: some rows are done, the others wait."""
    secrets = Secret.objects.filter(name__startswith="acs/ecs/").kept().order_by("name")
    ids = list(secrets.values_list("pk", flat=True)[: bulk_actions.CHUNK])
    tags = {"tags": {"env": "prod"}}
    bulk = bulk_actions.start("tag", ids, actor=viewer.principal, token="paused", choices=tags)
    bulk_actions.pause(bulk, actor=viewer.principal)


def paths() -> dict[str, str]:
    deployer, idle = (Principal.objects.get(name=name) for name in ("deployer", "old-backup"))
    used, off = AccessKey.objects.filter(principal=deployer).order_by("-is_active")
    bea = User.objects.get(username="bea")
    moved = Secret.objects.get(name="acs/ecs/ask/moved")
    paused = BulkAction.objects.get(token="paused")
    ruled = f"/main/secrets/{Secret.objects.get(name='acs/ecs/db/dba').pk}/"
    return {
        "applications": "/access/applications/", "application": f"/access/applications/{deployer.pk}/",
        "application-create": "/access/applications/create/",
        "application-disable": f"/access/applications/{deployer.pk}/disable/",
        "application-enable": f"/access/applications/{idle.pk}/enable/",
        "access-keys": "/access/access-keys/",
        "access-key-create": f"/access/access-keys/create/?owner={idle.pk}",
        "access-key-rotate": f"/access/access-keys/{used.pk}/rotate/",
        "access-key-disable": f"/access/access-keys/{used.pk}/disable/",
        "access-key-enable": f"/access/access-keys/{off.pk}/enable/",
        "access-key-delete": f"/access/access-keys/{off.pk}/delete/",
        "invitations": "/access/invitations/", "invite": "/access/invitations/create/",
        "user-sessions": f"/access/users/{bea.pk}/sessions/",
        "user-reset-factor": f"/access/users/{bea.pk}/second-factor/reset/",
        "sessions": "/sessions/", "second-factor": "/second-factor/",
        "second-factor-app": "/second-factor/app/", "second-factor-passkey": "/second-factor/passkey/",
        "search": "/search/?q=web", "search-none": "/search/?q=nothing-like-it",
        "audit-restore": "/audit/restore/",
        "secret-ruled": f"{ruled}?tab=permissions", "secret-policy": f"{ruled}policy/",
        "secret-rebind": f"/main/secrets/{moved.pk}/rebind/",
        "instance-rebind": f"/main/instances/{moved.managed.instance_id}/rebind/",
        "secret-moved": f"/main/secrets/{moved.pk}/",
        "bulk-paused": f"/background/{paused.pk}/", "bulk-cancel": f"/background/{paused.pk}/cancel/",
    }  # fmt: skip


def pressed() -> dict[str, tuple[str, Press]]:
    """What opens by a press only: the page it opens on, and the press."""
    ruled = Secret.objects.get(name="acs/ecs/db/dba")
    return {
        "secrets-selected": ("/main/secrets/", _tick),
        "secrets-bulk": ("/main/secrets/", _ask_of_many("Plan Deletion Secret")),
        "secrets-bulk-tag": ("/main/secrets/", _ask_of_many("Edit tags")),
        "secret-policy-delete": (f"/main/secrets/{ruled.pk}/policy/", _button("Delete resource policy")),
        "secrets-row-menu": ("/main/secrets/", _row_menu),
        "secrets-columns": ("/main/secrets/", _link("Columns and rows")),
        "search-open": ("/main/secrets/", _search),
        "bell-open": ("/main/secrets/", _bell),
        "secret-more": (f"/main/secrets/{ruled.pk}/", _menu("More")),
    }


def _tick(page: Page) -> None:
    for box in page.locator(".cell-pick > input[form]").all()[:3]:
        box.check()


def _ask_of_many(label: str) -> Press:
    def press(page: Page) -> None:
        _tick(page)
        bar = page.get_by_role("group", name="Actions on the selected rows")
        bar.get_by_role("button", name=label).click()
        page.get_by_role("dialog").wait_for()

    return press


def _button(name: str) -> Press:
    def press(page: Page) -> None:
        page.get_by_role("button", name=name, exact=True).first.click()

    return press


def _link(name: str) -> Press:
    """A link that opens a dialog."""

    def press(page: Page) -> None:
        page.get_by_role("link", name=name).first.click()
        page.get_by_role("dialog").wait_for()

    return press


def _menu(text: str) -> Press:
    def press(page: Page) -> None:
        page.locator("main summary", has_text=text).first.click()
        page.locator("main .menu-items:visible").first.wait_for()

    return press


def _search(page: Page) -> None:
    page.keyboard.press("/")
    page.keyboard.type("web")
    page.locator("#search-results:visible a").first.wait_for()


def _bell(page: Page) -> None:
    page.locator("#bell-button").click()
    page.locator("#bell .menu-items:visible").first.wait_for()


def _row_menu(page: Page) -> None:
    page.get_by_label("More for ").first.click()
    page.get_by_role("link", name="Rotation history").first.wait_for()
