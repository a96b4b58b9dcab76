"""What a person may not see is neither named nor counted beside what they may see."""

from __future__ import annotations

import json

import pytest
from django.test import Client
from django.urls import reverse

from rotation.inventory import management
from rotation.models import Instance, ManagedAccount
from secrets_app import keyring
from secrets_app.models import User
from secrets_app.policy import policies
from tests import factories

pytestmark = pytest.mark.django_db

LISTS = [
    "kms:List*", "kms:DescribeSecret", "kms:DescribeInstance", "kms:DescribeKey",
    "kms:DescribeManagementCredential", "kms:UseManagementCredential",
]  # fmt: skip


@pytest.fixture
def instance() -> Instance:
    """An instance with two secrets, which logs in with the one that is called hidden."""
    made = factories.instance(name="db-7")
    factories.secret(instance=made, name="shown-1", username="app")
    hidden = factories.secret(instance=made, name="hidden-1", username="covert", initial="an-old-value-1")
    ManagedAccount.objects.filter(secret=hidden).update(credential=ManagedAccount.Credential.IN_SYNC)
    management.use_own_login(made, hidden, sudo="none", actor=factories.administrator())
    return made


@pytest.fixture
def as_ann(client: Client, ann: User, instance: Instance) -> Client:
    """Sees every instance but one, and every secret but those that are called hidden."""
    statements = [
        {"Effect": "Allow", "Action": LISTS, "Resource": "*"},
        {"Effect": "Deny", "Action": ["kms:DescribeSecret"], "Resource": "acs:kms:*:*:secret/*hidden-*"},
    ]
    text = json.dumps({"Version": "1", "Statement": statements})
    made = policies.create("half", text, actor=factories.administrator())
    policies.attach(made, ann, actor=factories.administrator())
    client.force_login(ann)
    return client


def text(client: Client, name: str, *args: object, **query: str) -> str:
    response = client.get(reverse(name, args=args), query)
    assert response.status_code == 200, name
    return b"".join(response).decode() if response.streaming else response.content.decode()


def test_an_instance_s_page_names_no_secret_that_its_reader_may_not_see(as_ann, instance):
    for name in ("instance", "instance_live"):
        page = text(as_ann, name, "main", instance.pk)
        assert "hidden-1" not in page
        assert "covert" not in page
        assert "a secret that you may not see" in page
    assert "shown-1" in text(as_ann, "instance", "main", instance.pk)
    assert "hidden-1" not in text(as_ann, "instance_attach", "main", instance.pk)


def test_a_list_counts_the_secrets_that_its_reader_may_see(as_ann, client, instance, dot):
    response = as_ann.get(reverse("instances", args=["main"]))
    (row,) = response.context["page"].rows
    assert (row.secret_count, row.sees_own_login) == (1, False)
    assert "covert" not in response.content.decode()
    exported = text(as_ann, "instances_export", "main")
    assert "covert" not in exported
    assert ",1," in exported
    client.force_login(dot)
    (row,) = client.get(reverse("instances", args=["main"])).context["page"].rows
    assert (row.secret_count, row.sees_own_login) == (2, True)


def test_who_may_list_no_secrets_is_told_of_none(as_ann, ann, instance):
    deny = json.dumps(
        {"Version": "1", "Statement": [{"Effect": "Deny", "Action": ["kms:ListSecrets"], "Resource": "*"}]}
    )
    made = policies.create("none", deny, actor=factories.administrator())
    policies.attach(made, ann, actor=factories.administrator())
    (row,) = as_ann.get(reverse("instances", args=["main"])).context["page"].rows
    assert row.secret_count == 0
    assert "shown-1" not in text(as_ann, "instance", "main", instance.pk)


def test_a_key_counts_the_secrets_that_its_reader_may_see(as_ann, instance):
    key = keyring.default_key()
    assert as_ann.get(reverse("key", args=[key.pk])).context["secret_count"] == 1
    rows = as_ann.get(reverse("keys")).context["page"].rows
    assert {row.pk: row.secret_count for row in rows} == {key.pk: 1}


def test_a_credential_counts_the_instances_that_its_reader_may_see(as_ann, ann, dot):
    credential = factories.credential()
    seen, unseen = factories.instance(credential=credential), factories.instance(credential=credential)
    statement = {"Effect": "Deny", "Action": ["kms:DescribeInstance"], "Resource": unseen.arn}
    deny = json.dumps({"Version": "1", "Statement": [statement]})
    made = policies.create("but-one", deny, actor=factories.administrator())
    policies.attach(made, ann, actor=factories.administrator())
    rows = as_ann.get(reverse("credentials")).context["page"].rows
    assert {row.pk: row.instance_count for row in rows}[credential.pk] == 1
    page = text(as_ann, "credential", credential.pk)
    assert seen.name in page
    assert unseen.name not in page
