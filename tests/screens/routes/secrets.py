"""Deeds on secrets, instances, rotations and management credentials, and exports."""

from __future__ import annotations

import json
from typing import Any

from django.utils import timezone

from rotation import leases
from rotation.bulk import bulk_actions
from rotation.connectors import base
from rotation.inventory import identities
from rotation.managed import credential_state, deletion, rebinding
from rotation.models import ManagedAccount, Run
from secrets_app import keyring
from secrets_app.actions import Action
from secrets_app.crypto import key_pairs
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import DatabaseRestore, Secret
from secrets_app.policy import grants
from secrets_app.secrets import versions
from tests import factories
from tests.screens.routes.calls import NEW_VALUE, VALUE, Call, Cast, Make, queued, secret

CHECK, ROTATE = "kms:CheckInstance", "kms:RotateSecret"


def of_secret(*actions: str, **given: Any) -> Make:
    return lambda cast: Call(["main", secret().pk], given, actions)


def stage(made: Secret, value: str = NEW_VALUE) -> Any:
    held = versions.Value("svc", password=Plaintext(value))
    return versions.stage(made, held, origin="generated", actor=factories.administrator())


def ended(run: Run, outcome: str, **fields: str) -> Run:
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    leases.end(lease, outcome, **fields)
    return run


def rotate_back(cast: Cast) -> Call:
    made = secret()
    old = made.labelled("current")
    versions.promote(stage(made))
    return Call(["main", made.pk, old.pk], {"token": "t"}, (ROTATE,))


def download(cast: Cast) -> Call:
    key = key_pairs.generate("ed25519").private_key.reveal()
    made = secret(kind="key_pair", key_algorithm="ed25519", initial=key, username="git")
    return Call(["main", made.pk], {"reason": "on call"}, ("kms:GetSecretValue",))


def create(cast: Cast) -> Call:
    instance = factories.instance(name="web-main")
    given = {
        "type": "ecs", "name": "web/svc", "instance": instance.name, "username": "svc", "kind": "password",
        "value": VALUE, "length": "32", "sets": ["lower", "upper", "digits"], "excluded": "",
        "description": "", "tags": "", "rotation": "on", "period": "7", "unit": "days",
    }  # fmt: skip
    return Call(["main"], given, ("kms:CreateSecret",))


def look_first(cast: Cast) -> Call:
    given = {"instance": factories.instance().name, "username": "svc", "kind": "password"}
    return Call(["main"], given, (CHECK,), refused="kms:CreateSecret")


def edit(cast: Cast) -> Call:
    given = {
        "revision": "1", "description": "new", "tags": "", "length": "32", "excluded": "",
        "sets": ["lower", "upper", "digits"],
    }  # fmt: skip
    return Call(["main", secret().pk], given, ("kms:UpdateSecret",))


def schedule(cast: Cast) -> Call:
    made = secret()
    given = {"rotation": "on", "period": "7", "unit": "days", "revision": str(made.schedule.revision)}
    return Call(["main", made.pk], given, ("kms:UpdateSecretRotationPolicy",))


def resolve(cast: Cast) -> Call:
    """Two deeds: what was decided, and the end of the rotation that it was about."""
    run = queued()
    lease = leases.claim(run.pk, "host/1/2")
    assert lease
    assert run.secret
    version = stage(run.secret)
    leases.hold(lease, version=version, attempts=1)
    versions.mark_offered(version)
    credential_state.note(run.secret.managed, ManagedAccount.Credential.UNVERIFIED, "Not known.", "unknown")
    leases.end(lease, Run.Outcome.FAILED, truth="unknown", code="unknown")
    given = {"decision": "gone", "reason": "burnt down"}
    return Call(["main", run.secret.pk], given, ("kms:ResolveRotation",))


def moved() -> Secret:
    """A secret whose instance has another host key than the one that its account is bound to."""
    made = secret()
    key = factories.host_key()
    identities.see_host_keys(made.managed.instance, [key])
    identities.approve_host_keys(made.managed.instance, [key.fingerprint], actor=factories.administrator())
    return made


def rebind(cast: Cast, *, on_instance: bool = False) -> Call:
    made = moved()
    given = {"stamp": rebinding.proposal(made).new.stamp, "reason": "reinstalled"}
    pk = made.managed.instance.pk if on_instance else made.pk
    return Call(["main", pk], given, ("kms:RebindManagedAccount",))


def windows() -> Secret:
    instance = factories.instance(wire="winrm", os="windows", port=5986)
    return factories.windows_secret(instance=instance, failed=["Backup"], initial=VALUE)


def of_windows(*actions: str, refused: str = "", **given: Any) -> Make:
    return lambda cast: Call(["main", windows().pk], given, actions, refused=refused)


def restore(cast: Cast) -> Call:
    made = secret()
    deletion.plan_deletion(made, actor=factories.administrator())
    return Call(["main", made.pk], {}, ("kms:RestoreSecret",))


def grant(cast: Cast) -> Call:
    given = {"to": f"user:{cast.eve.pk}", "actions": ["kms:DescribeSecret", "kms:RotateSecret"]}
    return Call(["main", secret().pk], given, ("kms:CreateGrant",))


def revoke(cast: Cast) -> Call:
    made = secret()
    grants.grant(made, cast.eve, [Action.DESCRIBE_SECRET], actor=factories.administrator())
    given = {"of": f"user:{cast.eve.pk}", "actions": ["kms:DescribeSecret"]}
    return Call(["main", made.pk], given, ("kms:RevokeGrant",), query=f"?of={given['of']}")


def set_policy(cast: Cast) -> Call:
    statement = {"Effect": "Allow", "Principal": "*", "Action": "kms:DescribeSecret", "Resource": "*"}
    given = {"document": json.dumps({"Statement": [statement]}), "replaces": ""}
    return Call(["main", secret().pk], given, ("kms:SetSecretPolicy",))


def register(cast: Cast) -> Call:
    given = {"name": "web-1", "os": "linux", "address": "10.0.0.5", "port": "22"}
    return Call(["main"], given, ("kms:RegisterInstance", CHECK))


def retire(cast: Cast) -> Call:
    made = factories.instance()
    return Call(["main", made.pk], {"name": made.name, "reason": "burnt"}, ("kms:DeregisterInstance",))


def delete_credential(cast: Cast) -> Call:
    made = factories.credential()
    given = {"name": made.name, "reason": "replaced"}
    return Call([made.pk], given, ("kms:DeleteManagementCredential",))


def of_instance(cast: Cast) -> Call:
    return Call(["main", factories.instance().pk], {}, (CHECK,))


def change_instance(cast: Cast) -> Call:
    made = factories.instance()
    given = {"name": "new-name", "address": made.address, "port": "22", "revision": made.revision}
    return Call(["main", made.pk], given, ("kms:UpdateInstance",))


def approve(cast: Cast) -> Call:
    key = base.HostKey("ssh-ed25519", "AAAA1", "SHA256:one")
    made = factories.instance(keys=[key], approved=False)
    return Call(["main", made.pk], {"fingerprints": [key.fingerprint]}, ("kms:ApproveHostKey", CHECK))


def attach(cast: Cast) -> Call:
    given = {"credential": str(factories.credential().pk)}
    return Call(["main", factories.instance().pk], given, ("kms:UseManagementCredential", CHECK))


def own_login(cast: Cast) -> Call:
    made = secret(username="root")
    ManagedAccount.objects.filter(secret=made).update(credential="in_sync")
    given = {"secret": str(made.pk), "sudo": "none"}
    return Call(["main", made.managed.instance.pk], given, ("kms:UseManagementCredential", CHECK))


def cancel(cast: Cast) -> Call:
    return Call(["main", queued().pk], {}, ("kms:RotationEnded",), refused=ROTATE)


def retry(cast: Cast) -> Call:
    run = ended(queued(), Run.Outcome.FAILED, truth="old", code="policy", sentence="The host said no.")
    return Call(["main", run.pk], {}, (ROTATE,))


def override(cast: Cast) -> Call:
    run = ended(queued(), Run.Outcome.BLOCKED, code="must_change", sentence="What was found.")
    return Call(["main", run.pk], {"reason": "agreed"}, (ROTATE, "kms:OverridePreflightCheck"))


def restored_database(action: str, **given: str) -> Make:
    """Something done to a restored database that nobody has acknowledged."""

    def make(cast: Cast) -> Call:
        DatabaseRestore.objects.create(exported_to=10**6, exported_at=timezone.now(), found_to=1)
        return Call([], dict(given), (action,), refused="kms:AcknowledgeRestore")

    return make


def export(*args: str, action: str) -> Make:
    return lambda cast: Call(list(args), {}, (action,), "get", auditor=200)


def bulk(cast: Cast) -> Call:
    given = {"action": "verify", "ids": str(secret().pk), "token": "press", "confirmed": "on"}
    return Call(["main"], given, ("kms:BulkActionStarted",), refused=ROTATE)


def bulk_retry(cast: Cast) -> Call:
    run = ended(queued(), Run.Outcome.FAILED, truth="old", code="policy", sentence="The host said no.")
    given = {"action": "retry", "ids": str(run.pk), "token": "press", "confirmed": "on"}
    return Call(["main"], given, ("kms:BulkActionStarted",), refused=ROTATE)


def bulk_export(cast: Cast) -> Call:
    made = bulk_actions.start("verify", [secret().pk], actor=cast.dot.principal, token="press")
    return Call([made.pk], {}, ("kms:ExportBulkAction",), "get", auditor=404)


def bulk_change(event: str) -> Make:
    """A change of one's own action: another user is told that there is none."""

    def call(cast: Cast) -> Call:
        made = bulk_actions.start("verify", [secret().pk], actor=cast.dot.principal, token="press")
        if event == "kms:BulkActionResumed":
            bulk_actions.pause(made, actor=cast.dot.principal)
        return Call([made.pk], {}, (event,), auditor=404)

    return call


CREDENTIAL = {"name": "fleet", "username": "keyturn", "login": "own", "sudo": "passwordless"}
TOKEN = "5b1d2a60-0000-4000-8000-0123456789ab"


def create_generic(cast: Cast) -> Call:
    factories.region("main")
    given = {"name": "app/db", "format": "text", "value": VALUE, "key": keyring.DEFAULT_ALIAS, "token": TOKEN}
    return Call(["main"], given, ("kms:CreateSecret",))


def put_value(cast: Cast) -> Call:
    made = factories.generic_secret()
    given = {"format": "text", "value": NEW_VALUE, "token": TOKEN, "replaces": ""}
    return Call(["main", made.pk], given, ("kms:PutSecretValue",))


def labels(cast: Cast) -> Call:
    made = factories.generic_secret(value=VALUE)
    return Call(
        ["main", made.pk, made.labelled("current").pk],
        {"labels": "blue"},
        ("kms:UpdateSecretVersionStage",),
        refused="kms:PutSecretValue",
    )


CHANGES: dict[str, Make] = {
    "secret_labels": labels,
    "secret_create_generic": create_generic,
    "secret_put_value": put_value,
    "secret_create": create,
    "secret_create_check": look_first,
    "secret_rotate": of_secret(ROTATE, reason="routine"),
    "secret_rotate_back": rotate_back,
    "secret_reveal": of_secret("kms:GetSecretValue", reason="on call"),
    "secret_download": download,
    "secret_edit": edit,
    "secret_schedule": schedule,
    "secret_drift": of_secret(ROTATE),
    "secret_reconcile": of_secret(ROTATE),
    "secret_dependants": of_windows("kms:UpdateSecretRotationPolicy", chosen=["service:Backup"]),
    "secret_dependants_look": of_windows(CHECK, refused=ROTATE),
    "secret_dependants_retry": of_windows(ROTATE),
    "secret_resolve": resolve,
    "secret_delete": of_secret("kms:DeleteSecret", how="plan", days="30", reason="gone"),
    "secret_grant": grant,
    "secret_revoke": revoke,
    "secret_policy": set_policy,
    "secret_restore": restore,
    "secret_rebind": rebind,
    "secrets_bulk": bulk,
    "rotations_bulk": bulk_retry,
    "bulk_pause": bulk_change("kms:BulkActionPaused"),
    "bulk_resume": bulk_change("kms:BulkActionResumed"),
    "bulk_cancel": bulk_change("kms:BulkActionCancelled"),
    "credential_create": lambda cast: Call([], CREDENTIAL, ("kms:CreateManagementCredential",)),
    "credential_delete": delete_credential,
    "instance_register": register,
    "instance_edit": change_instance,
    "instance_retire": retire,
    "instance_scan": of_instance,
    "instance_check": of_instance,
    "instance_approve": approve,
    "instance_attach": attach,
    "instance_own_login": own_login,
    "instance_rebind": lambda cast: rebind(cast, on_instance=True),
    "run_cancel": cancel,
    "run_retry": retry,
    "run_override": override,
    "secrets_export": export("main", action="kms:ExportSecrets"),
    "instances_export": export("main", action="kms:ExportInstances"),
    "rotations_export_csv": export("main", action="kms:ExportRotations"),
    "rotations_export_json": export("main", action="kms:ExportRotations"),
    "credentials_export": export(action="kms:ExportManagementCredentials"),
    "users_export": export(action="kms:ExportUsers"),
    "applications_export": export(action="kms:ExportApplications"),
    "access_keys_export": export(action="kms:ExportAccessKeys"),
    "groups_export": export(action="kms:ExportGroups"),
    "policies_export": export(action="kms:ExportPolicies"),
    "keys_export": export(action="kms:ExportKeys"),
    "regions_export": export(action="kms:ExportRegions"),
    "invitations_export": export(action="kms:ExportInvitations"),
    "access_review_export": export(action="kms:ExportAccessReview"),
    "bulk_export": bulk_export,
    "audit_export_csv": export(action="kms:ExportAuditEvents"),
    "audit_export_json": export(action="kms:ExportAuditEvents"),
    "audit_export_shape": export("ocsf", action="kms:ExportAuditEvents"),
    "audit_verify": lambda cast: Call([], {}, ("kms:VerifyAuditTrail",), auditor=200),
    "restore_acknowledge": restored_database("kms:AcknowledgeRestore", reason="the disk failed"),
    "restore_verify": restored_database("kms:VerifyAllAccounts"),
    "audit_look_up": lambda cast: Call([], {"text": VALUE}, ("kms:LookUpValue",)),
}
