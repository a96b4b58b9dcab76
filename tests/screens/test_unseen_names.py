"""On no page does a person who may see one secret read the name of anything else.

Everything else on the site has a name of its own that stands nowhere in the product; every route that answers
GET is asked, about what is theirs and about what is not.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterator

import pytest
from django.contrib.auth.models import Group
from django.test import override_settings
from django.urls import get_resolver, reverse

from rotation.models import HostKey, Instance, ManagedAccount, ManagementCredential, Run
from secrets_app import keyring, regions
from secrets_app.actions import OF_A_SECRET, Action
from secrets_app.models import Invitation, Key, Policy, Region, Secret, SecretVersion, User
from secrets_app.policy import grants, policies
from tests import factories, sessions
from tests.screens import az_world
from tests.screens.az_table import ROUTES

pytestmark = [pytest.mark.django_db, pytest.mark.xdist_group("unseen")]

READERS = ("by-policy", "by-grant", "by-lists")
#: What names people, groups or regions by its purpose is not for somebody who may see one secret only.
ANSWERS_FOR_ALL = {
    "kms:ListGroups", "kms:ListAuditEvents", "kms:VerifyAuditTrail", "kms:LookUpValue",
    "kms:DescribeSettings",
}  # fmt: skip
TABS = ("versions", "history", "permissions", "tags", "audit")
WAYS: dict[str, dict[str, str]] = {"page": {}, "htmx": az_world.HTMX}


@pytest.fixture(scope="module")
def site(django_db_setup: None, django_db_blocker) -> Iterator[tuple[az_world.World, Secret, set[str]]]:
    """The site, the one secret that the readers see, and every name that they do not."""
    slow = override_settings(**sessions.AS_LONG_AS_IT_TAKES)
    with django_db_blocker.unblock(), slow, az_world.undone():
        keyring.ensure_root_key()
        regions.create("west", _marker(), actor=factories.administrator())
        world = az_world.build({name: {} for name in (*READERS, "disabled")})
        secret = Secret.objects.select_related("region__account", "account").get(
            pk=world.objects["own"]["secret"]["pk"]
        )
        _give(secret)
        yield world, secret, _hidden(secret)


def _marker() -> str:
    return f"zq{secrets.token_hex(6)}"


def _give(secret: Secret) -> None:
    actor, region = factories.administrator(), "acs:kms:main:*"
    lists = [a.value for a in Action if a.on_container and a.value not in ANSWERS_FOR_ALL]
    given: dict[str, list[tuple[list[str], str]]] = {
        "by-policy": [
            (["kms:*"], secret.arn),
            (["kms:ListSecrets"], f"{region}:secret"),
            (["kms:ListRotations"], f"{region}:rotation"),
        ],
        "by-lists": [
            (["kms:*"], secret.arn),
            (lists, f"{region}:*"),
            (lists, "acs:kms::*:*"),
            (["kms:CreateSecret"], f"{region}:secret/acs/ecs/new/*"),
        ],
    }
    for name, statements in given.items():
        written = [{"Effect": "Allow", "Action": what, "Resource": on} for what, on in statements]
        text = json.dumps({"Version": "1", "Statement": written})
        made = policies.create(_marker(), text, actor=actor)
        policies.attach(made, User.objects.get(username=name), actor=actor)
    grants.grant(secret, User.objects.get(username="by-grant"), OF_A_SECRET, actor=actor)


def _hidden(secret: Secret) -> set[str]:
    """Give a marker to what may be called anything, and collect what else there is by its name."""
    host = secret.managed.instance
    for row in Instance.objects.exclude(pk=host.pk):
        Instance.objects.filter(pk=row.pk).update(name=_marker())
    for rows in (Secret.objects.exclude(pk=secret.pk), Key.objects, Policy.objects):
        rows.update(description=_marker())
    for user in User.objects.all():
        User.objects.filter(pk=user.pk).update(display_name=_marker())
    beside = Instance.objects.exclude(pk=host.pk)
    found = {
        *Secret.objects.exclude(pk=secret.pk).values_list("name", flat=True),
        *Secret.objects.exclude(pk=secret.pk).values_list("description", flat=True),
        *ManagedAccount.objects.exclude(secret=secret).values_list("secret__pk", flat=True),
        *beside.values_list("name", flat=True),
        *beside.values_list("instance_id", flat=True),
        *beside.values_list("address", flat=True),
        *HostKey.objects.filter(instance__in=beside).values_list("fingerprint", flat=True),
        *Key.objects.exclude(alias=keyring.DEFAULT_ALIAS).values_list("alias", flat=True),
        *Key.objects.values_list("description", flat=True),
        *ManagementCredential.objects.values_list("name", flat=True),
        *Policy.objects.values_list("description", flat=True),
        *Policy.objects.values_list("name", flat=True),
        # By a name of their own: `disabled` and `other` are words, and `factory` has made the secret.
        *User.objects.filter(username__regex="^(own|foreign)-").values_list("username", flat=True),
        *User.objects.exclude(username__in=READERS).values_list("display_name", flat=True),
        *Group.objects.filter(name__contains="-").values_list("name", flat=True),
        *Invitation.objects.values_list("username", flat=True),
        *Region.objects.exclude(code="main").values_list("name", flat=True),
        *Run.objects.exclude(secret=secret).values_list("pk", flat=True),
        *SecretVersion.objects.exclude(secret=secret).values_list("version_id", flat=True),
    }
    return {str(name) for name in found if name} - {secret.name}  # the other region has one of this name too


def _addresses(world: az_world.World, person: str) -> Iterator[str]:
    patterns = {one.name: str(one.pattern) for one in get_resolver().url_patterns}
    for name, route in ROUTES.items():
        if "GET" not in route.answers.replace(",", " ").split() or "account_log" in name:
            continue
        for which in ("own", "foreign", "all"):
            if which == "all" and "<slug:region>" not in patterns[name]:
                continue
            args = world.args(route.of, "own" if which == "all" else which, person)
            if which == "all":
                args = args | {"region": "all"}
            yield reverse(name, kwargs=args)
            if not args:
                break
    here, one = world.objects["own"]["secret"], world.objects["own"]["user"]
    yield from (f"{reverse('secret', kwargs=here)}?tab={tab}" for tab in TABS)
    for region in ("main", "all"):
        for text in ("own", "foreign", "az", "-", "az/secret"):
            yield f"{reverse('secrets', args=[region])}?q={text}"
            yield f"{reverse('secret_create_instance', args=[region])}?instance={text}-host"
            yield f"{reverse('instances', args=[region])}?q={text}"
    yield f"{reverse('policy_attach')}?to=user:{one['pk']}"
    yield f"{reverse('secrets', args=['main'])}?status=deleted"


@pytest.mark.parametrize("person", READERS)
def test_who_may_see_one_secret_reads_the_name_of_nothing_else(site, person):
    world, secret, hidden = site
    names = re.compile("|".join(sorted(map(re.escape, hidden), key=len, reverse=True)))
    said: dict[str, list[str]] = {}
    shown = 0
    for address in _addresses(world, person):
        for way, headers in WAYS.items():
            answer = az_world.ask(address, "GET", cookie=world.cookies[person], **headers)
            body = b"".join(answer.streaming_content) if answer.streaming else answer.content
            text = (body.decode() + str(answer.headers)).replace(address, "")
            shown += secret.name in text
            assert answer.status_code != 500, address
            for found in set(names.findall(text)):
                said.setdefault(found, []).append(f"{address} ({way})")
    assert not said
    assert shown > len(TABS)
