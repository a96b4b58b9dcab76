"""The whole URL tree.

The region is in the URL and not in the session: two tabs show two regions, and a link says which one.
"""

from allauth.account import views as account
from django.urls import path

from console.views import (
    access_review,
    attachments,
    audit,
    credentials,
    deletion,
    drift,
    exports,
    grants,
    groups,
    home,
    instance_changes,
    instances,
    keys,
    leaver,
    overview,
    own_login,
    people,
    policies,
    resolve,
    reveal,
    rotate,
    rotate_back,
    rotations,
    run_cancel,
    run_override,
    schedule,
    secret_edit,
    secrets,
    session,
    simulator,
    wizard,
    wizard_check,
)
from console.views.health import healthz

handler403 = "console.views.errors.forbidden"
handler404 = "console.views.errors.not_found"
handler500 = "console.views.errors.server_error"

urlpatterns = [
    path("healthz", healthz, name="healthz"),
    # ---- people
    path("sign-in/", session.sign_in, name="account_login"),
    path("sign-out/", account.logout, name="account_logout"),
    path("change-password/", account.password_change, name="account_change_password"),
    path("account-disabled/", account.account_inactive, name="account_inactive"),
    path("session/", session.show, name="session"),
    path("session/stay/", session.stay, name="session_stay"),
    # ---- start
    path("", home.home, name="home"),
    path("get-started/", home.get_started, name="get_started"),
    path("<slug:region>/overview/", overview.index, name="overview"),
    # ---- management credentials belong to no region
    path("credentials/", credentials.index, name="credentials"),
    path("credentials/create/", credentials.create, name="credential_create"),
    path("credentials/<uuid:pk>/", credentials.show, name="credential"),
    # ---- who may do what belongs to no region
    path("access/", policies.start, name="access"),
    path("access/policies/", policies.index, name="policies"),
    path("access/policies/create/", policies.create, name="policy_create"),
    path("access/policies/<uuid:pk>/", policies.show, name="policy"),
    path("access/policies/<uuid:pk>/edit/", policies.edit, name="policy_edit"),
    path("access/policies/<uuid:pk>/delete/", policies.delete, name="policy_delete"),
    path("access/attach/", attachments.attach, name="policy_attach"),
    path("access/attachments/<uuid:pk>/detach/", attachments.detach, name="policy_detach"),
    path("access/simulator/", simulator.show, name="simulator"),
    path("access/review/", access_review.show, name="access_review"),
    path("access/groups/", groups.index, name="groups"),
    path("access/groups/create/", groups.create, name="group_create"),
    path("access/groups/<int:pk>/", groups.show, name="group"),
    path("access/groups/<int:pk>/join/", groups.join, name="group_join"),
    path("access/groups/<int:pk>/leave/<uuid:member>/", groups.leave, name="group_leave"),
    path("access/users/", people.index, name="users"),
    path("access/users/<uuid:pk>/", people.show, name="user"),
    path("access/users/<uuid:pk>/edit/", people.edit, name="user_edit"),
    path("access/users/<uuid:pk>/disable/", people.disable, name="user_disable"),
    path("access/users/<uuid:pk>/revealed/", leaver.show, name="user_revealed"),
    path("access/users/<uuid:pk>/enable/", people.enable, name="user_enable"),
    # ---- the audit trail is one, for all regions
    path("audit/", audit.index, name="audit"),
    path("audit/verify/", audit.verify, name="audit_verify"),
    path("audit/look-up/", audit.look_up, name="audit_look_up"),
    path("audit/export.csv", audit.export, {"form": "csv"}, name="audit_export_csv"),
    path("audit/export.jsonl", audit.export, {"form": "jsonl"}, name="audit_export_json"),
    path("audit/<int:sequence>/", audit.show, name="audit_event"),
    # ---- secrets
    path("<slug:region>/secrets/", secrets.index, name="secrets"),
    path("<slug:region>/secrets/export.csv", exports.all_secrets, name="secrets_export"),
    path("<slug:region>/secrets/create/", wizard.create, name="secret_create"),
    path("<slug:region>/secrets/create/instance/", wizard.instance, name="secret_create_instance"),
    path("<slug:region>/secrets/create/dates/", wizard.dates, name="secret_create_dates"),
    path("<slug:region>/secrets/create/check/", wizard_check.again, name="secret_create_check"),
    path("<slug:region>/secrets/create/check/<uuid:pk>/", wizard_check.show, name="secret_create_checked"),
    path("<slug:region>/secrets/create/key/", keys.public_half, name="secret_create_key"),
    path("<slug:region>/secrets/<uuid:pk>/", secrets.show, name="secret"),
    path("<slug:region>/secrets/<uuid:pk>/rotate/", rotate.rotate, name="secret_rotate"),
    path(
        "<slug:region>/secrets/<uuid:pk>/versions/<uuid:version>/rotate-back/",
        rotate_back.rotate_back,
        name="secret_rotate_back",
    ),
    path("<slug:region>/secrets/<uuid:pk>/value/", reveal.reveal, name="secret_reveal"),
    path("<slug:region>/secrets/<uuid:pk>/value/file/", reveal.download, name="secret_download"),
    path("<slug:region>/secrets/<uuid:pk>/edit/", secret_edit.edit, name="secret_edit"),
    path("<slug:region>/secrets/<uuid:pk>/schedule/", schedule.change, name="secret_schedule"),
    path("<slug:region>/secrets/<uuid:pk>/schedule/dates/", schedule.dates, name="secret_schedule_dates"),
    path("<slug:region>/secrets/<uuid:pk>/drift/", drift.check, name="secret_drift"),
    path("<slug:region>/secrets/<uuid:pk>/reconcile/", drift.reconcile, name="secret_reconcile"),
    path("<slug:region>/secrets/<uuid:pk>/resolve/", resolve.resolve, name="secret_resolve"),
    path("<slug:region>/secrets/<uuid:pk>/delete/", deletion.delete, name="secret_delete"),
    path("<slug:region>/secrets/<uuid:pk>/grant/", grants.grant, name="secret_grant"),
    path("<slug:region>/secrets/<uuid:pk>/revoke/", grants.revoke, name="secret_revoke"),
    path("<slug:region>/secrets/<uuid:pk>/restore/", deletion.restore, name="secret_restore"),
    # ---- instances
    path("<slug:region>/instances/", instances.index, name="instances"),
    path("<slug:region>/instances/export.csv", exports.all_instances, name="instances_export"),
    path("<slug:region>/instances/register/", instances.register, name="instance_register"),
    path("<slug:region>/instances/<uuid:pk>/", instances.show, name="instance"),
    path("<slug:region>/instances/<uuid:pk>/live/", instances.live, name="instance_live"),
    path("<slug:region>/instances/<uuid:pk>/edit/", instance_changes.edit, name="instance_edit"),
    path("<slug:region>/instances/<uuid:pk>/scan/", instances.scan, name="instance_scan"),
    path("<slug:region>/instances/<uuid:pk>/approve/", instance_changes.approve, name="instance_approve"),
    path("<slug:region>/instances/<uuid:pk>/check/", instances.check, name="instance_check"),
    path("<slug:region>/instances/<uuid:pk>/attach/", instance_changes.attach, name="instance_attach"),
    path("<slug:region>/instances/<uuid:pk>/own-login/", own_login.use, name="instance_own_login"),
    # ---- rotations
    path("<slug:region>/rotations/", rotations.index, name="rotations"),
    path("<slug:region>/rotations/export.csv", exports.runs, {"form": "csv"}, name="rotations_export_csv"),
    path(
        "<slug:region>/rotations/export.jsonl", exports.runs, {"form": "jsonl"}, name="rotations_export_json"
    ),
    path("<slug:region>/rotations/<uuid:pk>/", rotations.show, name="run"),
    path("<slug:region>/rotations/<uuid:pk>/steps/", rotations.steps, name="run_steps"),
    path("<slug:region>/rotations/<uuid:pk>/cancel/", run_cancel.cancel, name="run_cancel"),
    path("<slug:region>/rotations/<uuid:pk>/retry/", rotations.retry, name="run_retry"),
    path("<slug:region>/rotations/<uuid:pk>/override/", run_override.override, name="run_override"),
]
