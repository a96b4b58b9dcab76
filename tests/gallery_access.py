"""People, groups, policies and grants in many states, and the screens of Access."""

from __future__ import annotations

import json
from datetime import timedelta

from django.contrib.auth.models import Group
from django.utils import timezone

from secrets_app.actions import Action
from secrets_app.models import Attachment, Policy, Secret, SecretPrincipalGrant, User
from secrets_app.people import users
from secrets_app.policy import grants, policies
from secrets_app.secrets import versions
from tests import factories

OFFICE = [
    {"Effect": "Allow", "Action": ["kms:DescribeSecret", "kms:ListSecrets"], "Resource": "*"},
    {
        "Effect": "Allow",
        "Action": "kms:GetSecretValue",
        "Resource": "acs:kms:*:*:secret/acs/ecs/web/*",
        "Condition": {
            "IpAddress": {"acs:SourceIp": "10.0.0.0/8"},
            "Bool": {"acs:MFAPresent": "true"},
        },
    },
]


def seed() -> None:
    actor = factories.administrator()
    bea, cal = (
        factories.user(name, "helpdesk", display_name=shown)
        for name, shown in (("bea", "Bea Lindqvist"), ("cal", "Cal Moreau"))
    )
    factories.user("aud", "auditors")
    operators = users.create_group("operators", actor=actor)
    users.join(operators, [bea, cal], actor=actor)
    text = json.dumps({"Version": "1", "Statement": OFFICE}, indent=2)
    office = policies.create("office-only", text, actor=actor, description="Values from the office.")
    policies.attach(office, operators, actor=actor)
    policies.create("nobody-has-it", policies.document(["kms:GetSecretValue"]), actor=actor)
    secret = Secret.objects.get(name="acs/ecs/web/nginx")
    grants.grant(secret, bea, [Action.DESCRIBE_SECRET, Action.GET_SECRET_VALUE], actor=actor)
    grants.grant(secret, Group.objects.get(name="helpdesk"), [Action.ROTATE_SECRET], actor=actor)
    SecretPrincipalGrant.objects.update(granted_at=timezone.now() - timedelta(days=200))
    current = secret.labelled("current")
    assert current
    versions.reveal(current, actor=bea.principal, reason="A ticket")
    users.disable(cal, actor=actor, reason="Left")


def paths() -> dict[str, str]:
    bea, cal = User.objects.get(username="bea"), User.objects.get(username="cal")
    office, full = Policy.objects.get(name="office-only"), Policy.objects.get(name=policies.FULL_ACCESS)
    operators = Group.objects.get(name="operators")
    secret = Secret.objects.get(name="acs/ecs/web/nginx")
    one = f"/main/secrets/{secret.pk}/"
    held = Attachment.objects.get(policy=office)
    asked = f"user=bea&action=kms:GetSecretValue&resource={secret.name}&mfa=true&https=true"
    return {
        "users": "/access/users/", "user": f"/access/users/{bea.pk}/",
        "user-disabled": f"/access/users/{cal.pk}/", "user-edit": f"/access/users/{bea.pk}/edit/",
        "user-reset": f"/access/users/{bea.pk}/sign-in/reset/",
        "user-disable": f"/access/users/{bea.pk}/disable/", "user-enable": f"/access/users/{cal.pk}/enable/",
        "user-revealed": f"/access/users/{bea.pk}/revealed/",
        "groups": "/access/groups/", "group": f"/access/groups/{operators.pk}/",
        "group-create": "/access/groups/create/", "group-join": f"/access/groups/{operators.pk}/join/",
        "group-leave": f"/access/groups/{operators.pk}/leave/{bea.pk}/",
        "policies": "/access/policies/", "policy": f"/access/policies/{office.pk}/",
        "policy-system": f"/access/policies/{full.pk}/", "policy-create": "/access/policies/create/",
        "policy-edit": f"/access/policies/{office.pk}/edit/",
        "policy-delete": f"/access/policies/{office.pk}/delete/",
        "policy-attach": f"/access/attach/?policy={office.pk}",
        "policy-detach": f"/access/attachments/{held.pk}/detach/",
        "simulator": "/access/simulator/",
        "simulator-allowed": f"/access/simulator/?{asked}&address=10.0.0.1",
        "simulator-denied": f"/access/simulator/?{asked}&user=cal",
        "access-review": "/access/review/", "secret-permissions": f"{one}?tab=permissions",
        "secret-grant": f"{one}grant/", "secret-revoke": f"{one}revoke/?of=user:{bea.pk}",
    }  # fmt: skip
