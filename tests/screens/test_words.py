"""The words that people who know the Alibaba Cloud KMS console look for, each on its screen."""

from __future__ import annotations

from html import unescape

import pytest
from django.test import Client
from django.urls import reverse

from rotation.managed import deletion
from tests import factories

pytestmark = pytest.mark.django_db

LIST = (
    "Create Secret", "Secret name", "Managed instance", "Managed User", "Kind", "Credential",
    "Automatic rotation", "Next rotation", "Last rotation", "Status", "Actions", "Rotate Immediately",
    "Export CSV",
)  # fmt: skip
WIZARD = (
    "Create Secret", "Configuration rotation", "Review and confirm", "Select Type", "Managed ECS secret",
    "Secret name", "acs/ecs/", "Managed instance", "Managed User", "Initial secret value", "Password",
    "Key pair", "Generate one for me at the first rotation", "Key algorithm", "RSA-2048", "Ed25519",
    "Password policy", "Secret Description", "Tags", "Turn on automatic rotation",
    "Turn off automatic rotation", "Rotation Period", "Rotate once, right after creation", "OK",
)  # fmt: skip
ROTATE = ("Prompt", "Use Custom Secret", "32-character random password", "Confirm rotation")
DELETE = (
    "Delete Secret", "Plan Deletion Secret", "Delete In (7-30 days)", "Delete Secret Immediately",
    "Deleting a secret does not change the password or key pair already configured on the instance.", "OK",
)  # fmt: skip
MENU = ("Get secret value", "Configuration rotation", "Plan Deletion Secret")
DETAILS = (
    "Secret Type", "Managed ECS secret", "Managed instance", "Managed User", "Get secret value",
    "Rotate Immediately", "Configuration rotation", "Edit", "Plan Deletion Secret", "Overview",
    "Versions", "Rotation history", "Permissions", "Tags", "Audit",
)  # fmt: skip
HISTORY = (
    "Started", "Secret", "Instance", "Trigger", "Requested by", "Outcome", "Duration", "Attempts",
    "Export CSV", "Export JSON",
)  # fmt: skip
INSTANCES = (
    "Register Instance", "Instance ID", "Name", "Region", "OS", "Address", "Connection", "Host key",
    "Secrets", "Last contact", "Status",
)  # fmt: skip
# The left navigation and the region selector, on every page.
NAVIGATION = ("Overview", "Secrets", "Instances", "Rotations", "Access", "Keys", "Audit", "All regions")


@pytest.fixture
def secret(open_keyring):
    return factories.secret(initial="the-first-value")


@pytest.fixture
def pages(client: Client, dot, secret):
    client.force_login(dot)
    args = ["main", secret.pk]
    return {
        "overview": reverse("overview", args=["main"]),
        "list": reverse("secrets", args=["main"]),
        "menu": reverse("secret_menu", args=args),
        "wizard": reverse("secret_create", args=["main"]),
        "rotate": reverse("secret_rotate", args=args),
        "delete": reverse("secret_delete", args=args),
        "details": reverse("secret", args=args),
        "history": reverse("rotations", args=["main"]),
        "instances": reverse("instances", args=["main"]),
    }


@pytest.mark.parametrize(
    ("screen", "words"),
    [
        ("list", LIST), ("menu", MENU), ("wizard", WIZARD), ("rotate", ROTATE), ("delete", DELETE),
        ("details", DETAILS), ("history", HISTORY), ("instances", INSTANCES),
        ("list", NAVIGATION), ("overview", (*NAVIGATION, "Needs attention")),
    ],
)  # fmt: skip
def test_a_screen_says_what_its_users_look_for(client, pages, screen, words):
    shown = unescape(client.get(pages[screen]).content.decode())
    assert not [word for word in words if word not in shown]


def test_restoring_says_who_planned_the_deletion_and_why_and_when_it_is_due(client, dot, secret):
    factories.settle(secret)
    deletion.plan_deletion(secret, actor=dot.principal, days=7, reason="moved away")
    client.force_login(dot)
    shown = unescape(client.get(reverse("secret_restore", args=["main", secret.pk])).content.decode())
    for word in ("Restore Secret", secret.name, "svc", "dot", "moved away", "Due", "OK"):
        assert word in shown
