"""The whole URL tree.

The region is in the URL and not in the session: two tabs show two regions, and a link says which one.
"""

from allauth.account import views as account
from django.urls import path

from console.views import (
    confirm,
    credentials,
    deletion,
    devices,
    drift,
    exports,
    home,
    instance_changes,
    instances,
    invitations,
    keys,
    overview,
    own_login,
    resolve,
    reveal,
    rotate,
    rotate_back,
    rotations,
    run_cancel,
    run_override,
    schedule,
    second_factor,
    secret_edit,
    secrets,
    session,
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
    path("confirm/", confirm.password, name="account_reauthenticate"),
    path("confirm/code/", confirm.code, name="mfa_reauthenticate"),
    path("confirm/passkey/", confirm.passkey, name="mfa_reauthenticate_webauthn"),
    path("sign-in/second-factor/", second_factor.authenticate, name="mfa_authenticate"),
    path("second-factor/", second_factor.index, name="mfa_index"),
    path("second-factor/app/", second_factor.activate_totp, name="mfa_activate_totp"),
    path("second-factor/app/remove/", second_factor.deactivate_totp, name="mfa_deactivate_totp"),
    path("second-factor/passkey/", second_factor.add_passkey, name="mfa_add_webauthn"),
    path("second-factor/passkey/<int:pk>/remove/", second_factor.remove_passkey, name="mfa_remove_webauthn"),
    path("second-factor/recovery-codes/", second_factor.recovery_codes, name="mfa_view_recovery_codes"),
    path("session/", session.show, name="session"),
    path("session/stay/", session.stay, name="session_stay"),
    path("sessions/", devices.index, name="sessions"),
    path("sessions/end-others/", devices.end_others, name="sessions_end_others"),
    path("sessions/<int:pk>/end/", devices.end, name="session_end"),
    path("access/users/<uuid:pk>/sessions/", devices.of_user, name="user_sessions"),
    path("access/users/<uuid:pk>/sessions/end/", devices.end_of_user, name="user_sessions_end"),
    path("access/users/<uuid:pk>/second-factor/reset/", devices.reset_factor, name="user_reset_factor"),
    path("access/invitations/", invitations.index, name="invitations"),
    path("access/invitations/create/", invitations.invite, name="invite"),
    path("access/invitations/<uuid:pk>/renew/", invitations.renew, name="invitation_renew"),
    path("access/invitations/<uuid:pk>/revoke/", invitations.revoke, name="invitation_revoke"),
    path("invitation/", invitations.accept, name="invitation"),
    path("invitation/<str:token>/", invitations.open_link, name="invitation_open"),
    # ---- start
    path("", home.home, name="home"),
    path("get-started/", home.get_started, name="get_started"),
    path("<slug:region>/overview/", overview.index, name="overview"),
    # ---- management credentials belong to no region
    path("credentials/", credentials.index, name="credentials"),
    path("credentials/create/", credentials.create, name="credential_create"),
    path("credentials/<uuid:pk>/", credentials.show, name="credential"),
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
