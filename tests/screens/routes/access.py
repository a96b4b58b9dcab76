"""Deeds on people, groups, policies and invitations."""

from __future__ import annotations

from django.contrib.auth.models import Group

from secrets_app.actions import Action
from secrets_app.models import Attachment, Policy, Principal
from secrets_app.people import access_keys, invitations, machines, users
from secrets_app.policy import grants, policies
from secrets_app.secrets import versions
from tests import factories
from tests.screens.routes.calls import Call, Cast, Make, secret, signed_in
from tests.screens.routes.own import add_app

DOCUMENT = policies.document(["kms:DescribeSecret"])


def group(*members: object) -> Group:
    made = users.create_group("night", actor=factories.administrator())
    users.join(made, members, actor=factories.administrator())
    return made


def policy() -> Policy:
    return policies.create("reader", DOCUMENT, actor=factories.administrator())


def of_user(*actions: str, **given: str) -> Make:
    return lambda cast: Call([cast.eve.pk], dict(given), actions)


def enable(cast: Cast) -> Call:
    users.disable(cast.eve, actor=factories.administrator())
    return Call([cast.eve.pk], {"reason": "back"}, ("kms:DisableUser",))


def end_sessions(cast: Cast) -> Call:
    signed_in(cast.eve)
    return Call([cast.eve.pk], {}, ("kms:EndSessions",), refused="kms:UpdateUser")


def reset_factor(cast: Cast) -> Call:
    """Three deeds: the reset with its reason, the factor that went, the sessions that ended."""
    signed_in(cast.eve)
    add_app(cast.eve)
    actions = ("kms:RemoveSecondFactor", "kms:ResetSecondFactor", "kms:EndSessions")
    return Call([cast.eve.pk], {"reason": "lost"}, actions, refused="kms:ResetSecondFactor")


def rotate_what_was_read(cast: Cast) -> Call:
    made = secret()
    grants.grant(made, cast.eve, [Action.GET_SECRET_VALUE], actor=factories.administrator())
    versions.reveal(made.labelled("current"), actor=cast.eve.principal, reason="test")
    return Call(
        [cast.eve.pk], {"secret": [str(made.pk)]}, ("kms:BulkActionStarted",), refused="kms:RotateSecret"
    )


def join(cast: Cast) -> Call:
    return Call([group().pk], {"members": [str(cast.eve.pk)]}, ("kms:UpdateGroup",))


def leave(cast: Cast) -> Call:
    return Call([group(cast.eve).pk, cast.eve.pk], {}, ("kms:UpdateGroup",))


def edit_policy(cast: Cast) -> Call:
    made = policy()
    given = {"description": "new", "document": DOCUMENT, "revision": str(made.revision)}
    return Call([made.pk], given, ("kms:UpdatePolicy",))


def attach(cast: Cast) -> Call:
    given = {"policy": str(policy().pk), "to": f"user:{cast.eve.pk}"}
    return Call([], given, ("kms:AttachPolicy",))


def detach(cast: Cast) -> Call:
    policies.attach(policy(), cast.eve, actor=factories.administrator())
    return Call([Attachment.objects.get(principal=cast.eve.principal).pk], {}, ("kms:AttachPolicy",))


def reset_sign_in(cast: Cast) -> Call:
    return Call([cast.eve.pk], {"reason": "forgot it"}, ("kms:ResetSignIn",))


def of_invitation(action: str) -> Make:
    def make(cast: Cast) -> Call:
        made, _ = invitations.invite("nia", actor=factories.administrator())
        return Call([made.pk], {}, (action,), refused="kms:CreateUser")

    return make


def machine() -> Principal:
    return machines.create("robot", actor=factories.administrator())


def of_machine(action: str, *, disabled: bool = False) -> Make:
    def make(cast: Cast) -> Call:
        made = machine()
        if disabled:
            machines.disable(made, actor=factories.administrator())
        return Call([made.pk], {"reason": "test"}, (action,))

    return make


def of_key(action: str, *, disabled: bool = False, **given: str) -> Make:
    def make(cast: Cast) -> Call:
        key, _ = access_keys.create(machine(), actor=factories.administrator())
        if disabled:
            access_keys.disable(key, actor=factories.administrator())
        return Call([key.pk], dict(given), (action,))

    return make


CHANGES: dict[str, Make] = {
    "application_create": lambda cast: Call([], {"name": "robot"}, ("kms:CreateUser",)),
    "application_disable": of_machine("kms:DisableUser"),
    "application_enable": of_machine("kms:DisableUser", disabled=True),
    "access_key_create": lambda cast: Call(
        [], {"owner": str(machine().pk), "lifetime": "30"}, ("kms:CreateAccessKey",)
    ),
    "access_key_rotate": of_key("kms:CreateAccessKey", step="create"),
    "access_key_disable": of_key("kms:UpdateAccessKey"),
    "access_key_enable": of_key("kms:UpdateAccessKey", disabled=True),
    "access_key_delete": of_key("kms:DeleteAccessKey"),
    "user_edit": of_user("kms:UpdateUser", display_name="Eve Ek"),
    "user_disable": of_user("kms:DisableUser", reason="left"),
    "user_enable": enable,
    "user_sessions_end": end_sessions,
    "user_reset_factor": reset_factor,
    "user_reset_sign_in": reset_sign_in,
    "user_revealed": rotate_what_was_read,
    "group_create": lambda cast: Call([], {"name": "night"}, ("kms:CreateGroup",)),
    "group_join": join,
    "group_leave": leave,
    "policy_create": lambda cast: Call(
        [], {"name": "reader", "description": "", "document": DOCUMENT}, ("kms:CreatePolicy",)
    ),
    "policy_edit": edit_policy,
    "policy_delete": lambda cast: Call([policy().pk], {}, ("kms:DeletePolicy",)),
    "policy_attach": attach,
    "policy_detach": detach,
    "invite": lambda cast: Call(
        [],
        {"username": "nia", "display_name": "Nia", "groups": ["helpdesk"]},
        ("kms:InviteUser",),
        refused="kms:CreateUser",
    ),
    "invitation_renew": of_invitation("kms:RenewInvitation"),
    "invitation_revoke": of_invitation("kms:RevokeInvitation"),
}
