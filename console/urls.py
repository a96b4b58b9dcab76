"""The whole URL tree.

The region is in the URL and not in the session: two tabs show two regions, and a link says which one.
"""

from allauth.account import views as account
from django.urls import path

from console.http import FORM_METHODS
from console.probes import healthz, livez, readyz
from console.views import exports, list_preferences, search
from console.views.access import (
    access_keys,
    access_review,
    applications,
    attachments,
    grants,
    groups,
    invitations,
    leaver,
    people,
    policies,
    resource_policy,
    simulator,
)
from console.views.account import confirm, devices, openid, second_factor, session
from console.views.audit import events, restored_database
from console.views.bulk import bulk_actions
from console.views.bulk import confirm as bulk_confirm
from console.views.bulk import control as bulk_control
from console.views.credentials import credentials
from console.views.help import chapters
from console.views.instances import instance_changes, instances, own_login, retirement
from console.views.keys import key_changes, keys
from console.views.overview import away, get_started, overview
from console.views.rotations import rotations, run_cancel, run_override
from console.views.secrets import (
    deletion,
    dependants,
    drift,
    generic,
    key_pair,
    rebind,
    resolve,
    reveal,
    rotate,
    rotate_back,
    schedule,
    secret_edit,
    secrets,
    use,
    wizard,
    wizard_check,
)
from console.views.settings import about as settings_about
from console.views.settings import health as settings_health
from console.views.settings import mail as settings_mail
from console.views.settings import notifications
from console.views.settings import regions as settings_regions

handler403 = "console.errors.forbidden"
handler404 = "console.errors.not_found"
handler500 = "console.errors.server_error"

urlpatterns = [
    path("livez", livez, name="livez"),
    path("readyz", readyz, name="readyz"),
    path("healthz", healthz, name="healthz"),
    # ---- people
    path("sign-in/", session.sign_in, name="account_login"),
    path("sign-out/", account.LogoutView.as_view(http_method_names=FORM_METHODS), name="account_logout"),
    path("change-password/", session.change_password, name="account_change_password"),
    path(
        "account-disabled/",
        account.AccountInactiveView.as_view(http_method_names=FORM_METHODS),
        name="account_inactive",
    ),
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
    path("sign-in/identity/", openid.sign_in, name="openid_sign_in"),
    path("sign-in/identity/callback/", openid.callback, name="openid_callback"),
    path("confirm/identity/", openid.confirm, name="openid_confirm"),
    path("second-factor/identity/link/", openid.link, name="openid_link"),
    path("second-factor/identity/unlink/", openid.unlink, name="openid_unlink"),
    path("session/", session.show, name="session"),
    path("session/stay/", session.stay, name="session_stay"),
    path("sessions/", devices.index, name="sessions"),
    path("sessions/end-others/", devices.end_others, name="sessions_end_others"),
    path("sessions/<int:pk>/end/", devices.end, name="session_end"),
    path("access/users/<uuid:pk>/sessions/", devices.of_user, name="user_sessions"),
    path("access/users/<uuid:pk>/sessions/end/", devices.end_of_user, name="user_sessions_end"),
    path("access/users/<uuid:pk>/second-factor/reset/", devices.reset_factor, name="user_reset_factor"),
    path("access/invitations/export.csv", exports.all_invitations, name="invitations_export"),
    path("access/invitations/", invitations.index, name="invitations"),
    path("access/invitations/create/", invitations.invite, name="invite"),
    path("access/invitations/<uuid:pk>/renew/", invitations.renew, name="invitation_renew"),
    path("access/invitations/<uuid:pk>/revoke/", invitations.revoke, name="invitation_revoke"),
    path("invitation/", invitations.accept, name="invitation"),
    path("invitation/identity/", openid.accept, name="openid_accept"),
    path("invitation/<str:token>/", invitations.open_link, name="invitation_open"),
    path("notifications/", notifications.own, name="own_notifications"),
    path("lists/shown/", list_preferences.keep, name="list_preferences"),
    # ---- start
    path("", get_started.home, name="home"),
    path("away/", away.show, name="away"),
    path("search/", search.show, name="search"),
    path("get-started/", get_started.get_started, name="get_started"),
    path("<slug:region>/overview/", overview.index, name="overview"),
    # ---- help, for all users
    path("help/", chapters.index, name="help"),
    path("help/<slug:chapter>/", chapters.show, name="help_chapter"),
    # ---- settings
    path("settings/", settings_regions.home, name="settings"),
    path("settings/regions/", settings_regions.index, name="settings_regions"),
    path("settings/regions/export.csv", exports.all_regions, name="regions_export"),
    path("settings/regions/create/", settings_regions.create, name="region_create"),
    path("settings/regions/<uuid:pk>/rename/", settings_regions.rename, name="region_rename"),
    path("settings/regions/<uuid:pk>/retire/", settings_regions.retire, name="region_retire"),
    path("settings/mail/", settings_mail.show, name="settings_mail"),
    path("settings/mail/test/", settings_mail.send_test, name="settings_mail_test"),
    path("settings/notifications/", notifications.index, name="settings_notifications"),
    path("settings/notifications/create/", notifications.create, name="notification_create"),
    path("settings/notifications/<uuid:pk>/", notifications.show, name="notification"),
    path("settings/notifications/<uuid:pk>/edit/", notifications.edit, name="notification_edit"),
    path("settings/notifications/<uuid:pk>/delete/", notifications.delete, name="notification_delete"),
    path("settings/notifications/<uuid:pk>/test/", notifications.send_test, name="notification_test"),
    path("settings/deliveries/<uuid:pk>/again/", notifications.send_again, name="delivery_again"),
    path("settings/sessions/", settings_about.rules, name="settings_rules"),
    path("settings/health/", settings_health.show, name="settings_health"),
    path("settings/about/", settings_about.show, name="settings_about"),
    # ---- management credentials belong to no region
    path("credentials/", credentials.index, name="credentials"),
    path("credentials/export.csv", exports.all_credentials, name="credentials_export"),
    path("credentials/create/", credentials.create, name="credential_create"),
    path("credentials/<uuid:pk>/", credentials.show, name="credential"),
    path("credentials/<uuid:pk>/delete/", credentials.delete, name="credential_delete"),
    # ---- who may do what belongs to no region
    path("access/", policies.start, name="access"),
    path("access/policies/", policies.index, name="policies"),
    path("access/policies/export.csv", exports.all_policies, name="policies_export"),
    path("access/policies/create/", policies.create, name="policy_create"),
    path("access/policies/<uuid:pk>/", policies.show, name="policy"),
    path("access/policies/<uuid:pk>/edit/", policies.edit, name="policy_edit"),
    path("access/policies/<uuid:pk>/delete/", policies.delete, name="policy_delete"),
    path("access/attach/", attachments.attach, name="policy_attach"),
    path("access/attachments/<uuid:pk>/detach/", attachments.detach, name="policy_detach"),
    path("access/simulator/", simulator.show, name="simulator"),
    path("access/review/export.csv", exports.review, name="access_review_export"),
    path("access/review/", access_review.show, name="access_review"),
    path("access/groups/", groups.index, name="groups"),
    path("access/groups/export.csv", exports.all_groups, name="groups_export"),
    path("access/groups/create/", groups.create, name="group_create"),
    path("access/groups/<int:pk>/", groups.show, name="group"),
    path("access/groups/<int:pk>/join/", groups.join, name="group_join"),
    path("access/groups/<int:pk>/leave/<uuid:member>/", groups.leave, name="group_leave"),
    path("access/users/", people.index, name="users"),
    path("access/users/export.csv", exports.all_users, name="users_export"),
    path("access/users/<uuid:pk>/", people.show, name="user"),
    path("access/users/<uuid:pk>/edit/", people.edit, name="user_edit"),
    path("access/users/<uuid:pk>/disable/", people.disable, name="user_disable"),
    path("access/users/<uuid:pk>/sign-in/reset/", invitations.back, name="user_reset_sign_in"),
    path("access/users/<uuid:pk>/revealed/", leaver.show, name="user_revealed"),
    path("access/users/<uuid:pk>/enable/", people.enable, name="user_enable"),
    path("access/applications/", applications.index, name="applications"),
    path("access/applications/export.csv", exports.all_applications, name="applications_export"),
    path("access/applications/create/", applications.create, name="application_create"),
    path("access/applications/<uuid:pk>/", applications.show, name="application"),
    path("access/applications/<uuid:pk>/disable/", applications.disable, name="application_disable"),
    path("access/applications/<uuid:pk>/enable/", applications.enable, name="application_enable"),
    path("access/access-keys/", access_keys.index, name="access_keys"),
    path("access/access-keys/export.csv", exports.all_access_keys, name="access_keys_export"),
    path("access/access-keys/create/", access_keys.create, name="access_key_create"),
    path("access/access-keys/<uuid:pk>/rotate/", access_keys.rotate, name="access_key_rotate"),
    path("access/access-keys/<uuid:pk>/disable/", access_keys.disable, name="access_key_disable"),
    path("access/access-keys/<uuid:pk>/enable/", access_keys.enable, name="access_key_enable"),
    path("access/access-keys/<uuid:pk>/delete/", access_keys.delete, name="access_key_delete"),
    # ---- the audit trail is one, for all regions
    path("audit/", events.index, name="audit"),
    path("audit/verify/", events.verify, name="audit_verify"),
    path("audit/look-up/", events.look_up, name="audit_look_up"),
    path("audit/export.csv", events.export, {"form": "csv"}, name="audit_export_csv"),
    path("audit/export.jsonl", events.export, {"form": "jsonl"}, name="audit_export_json"),
    path("audit/export/<slug:form>/", events.export, name="audit_export_shape"),
    path("audit/restore/", restored_database.index, name="restore"),
    path("audit/restore/progress/", restored_database.progress, name="restore_progress"),
    path("audit/restore/acknowledge/", restored_database.acknowledge, name="restore_acknowledge"),
    path("audit/restore/verify-all/", restored_database.verify_all, name="restore_verify"),
    path("audit/<int:sequence>/", events.show, name="audit_event"),
    # ---- keys belong to no region
    path("keys/", keys.index, name="keys"),
    path("keys/export.csv", exports.all_keys, name="keys_export"),
    path("keys/create/", keys.create, name="key_create"),
    path("keys/<uuid:pk>/", keys.show, name="key"),
    path("keys/<uuid:pk>/new-version/", key_changes.new_version, name="key_new_version"),
    path("keys/<uuid:pk>/rewrap/", key_changes.rewrap, name="key_rewrap"),
    path("keys/<uuid:pk>/rewrap/progress/", keys.progress, name="key_progress"),
    path("keys/<uuid:pk>/disable/", key_changes.disable, name="key_disable"),
    path("keys/<uuid:pk>/enable/", key_changes.enable, name="key_enable"),
    path("keys/<uuid:pk>/destroy/", key_changes.destroy, name="key_destroy"),
    path("keys/<uuid:pk>/cancel/", key_changes.cancel, name="key_cancel"),
    # ---- background actions are of a user, in all regions
    path("background/", bulk_actions.index, name="bulk_actions"),
    path("background/bell/", bulk_actions.bell, name="bulk_bell"),
    path("background/<uuid:pk>/", bulk_actions.show, name="bulk_action"),
    path("background/<uuid:pk>/export.csv", exports.bulk_rows, name="bulk_export"),
    path("background/<uuid:pk>/progress/", bulk_actions.progress, name="bulk_progress"),
    path("background/<uuid:pk>/pause/", bulk_control.pause, name="bulk_pause"),
    path("background/<uuid:pk>/resume/", bulk_control.resume, name="bulk_resume"),
    path("background/<uuid:pk>/cancel/", bulk_control.cancel, name="bulk_cancel"),
    path("<slug:region>/secrets/bulk/", bulk_confirm.of_secrets, name="secrets_bulk"),
    path("<slug:region>/rotations/bulk/", bulk_confirm.of_runs, name="rotations_bulk"),
    # ---- secrets
    path("<slug:region>/secrets/", secrets.index, name="secrets"),
    path("<slug:region>/secrets/export.csv", exports.all_secrets, name="secrets_export"),
    path("<slug:region>/secrets/create/", wizard.create, name="secret_create"),
    path("<slug:region>/secrets/create/generic/", generic.create, name="secret_create_generic"),
    path("<slug:region>/secrets/create/instance/", wizard.instance, name="secret_create_instance"),
    path("<slug:region>/secrets/create/dates/", wizard.dates, name="secret_create_dates"),
    path("<slug:region>/secrets/create/check/", wizard_check.again, name="secret_create_check"),
    path("<slug:region>/secrets/create/check/<uuid:pk>/", wizard_check.show, name="secret_create_checked"),
    path("<slug:region>/secrets/create/key/", key_pair.public_half, name="secret_create_key_pair"),
    path("<slug:region>/secrets/<uuid:pk>/", secrets.show, name="secret"),
    path("<slug:region>/secrets/<uuid:pk>/menu/", secrets.menu, name="secret_menu"),
    path("<slug:region>/secrets/<uuid:pk>/use/", use.show, name="secret_use"),
    path("<slug:region>/secrets/<uuid:pk>/rotate/", rotate.rotate, name="secret_rotate"),
    path(
        "<slug:region>/secrets/<uuid:pk>/versions/<uuid:version>/rotate-back/",
        rotate_back.rotate_back,
        name="secret_rotate_back",
    ),
    path("<slug:region>/secrets/<uuid:pk>/value/", reveal.reveal, name="secret_reveal"),
    path("<slug:region>/secrets/<uuid:pk>/value/file/", reveal.download, name="secret_download"),
    path(
        "<slug:region>/secrets/<uuid:pk>/versions/<uuid:version>/labels/",
        generic.labels,
        name="secret_labels",
    ),
    path("<slug:region>/secrets/<uuid:pk>/value/edit/", generic.edit_value, name="secret_put_value"),
    path("<slug:region>/secrets/<uuid:pk>/edit/", secret_edit.edit, name="secret_edit"),
    path("<slug:region>/secrets/<uuid:pk>/schedule/", schedule.change, name="secret_schedule"),
    path("<slug:region>/secrets/<uuid:pk>/schedule/dates/", schedule.dates, name="secret_schedule_dates"),
    path("<slug:region>/secrets/<uuid:pk>/drift/", drift.check, name="secret_drift"),
    path("<slug:region>/secrets/<uuid:pk>/reconcile/", drift.reconcile, name="secret_reconcile"),
    path("<slug:region>/secrets/<uuid:pk>/dependants/", dependants.choose, name="secret_dependants"),
    path("<slug:region>/secrets/<uuid:pk>/dependants/look/", dependants.look, name="secret_dependants_look"),
    path(
        "<slug:region>/secrets/<uuid:pk>/dependants/retry/", dependants.retry, name="secret_dependants_retry"
    ),
    path("<slug:region>/secrets/<uuid:pk>/resolve/", resolve.resolve, name="secret_resolve"),
    path("<slug:region>/secrets/<uuid:pk>/rebind/", rebind.of_secret, name="secret_rebind"),
    path("<slug:region>/secrets/<uuid:pk>/delete/", deletion.delete, name="secret_delete"),
    path("<slug:region>/secrets/<uuid:pk>/grant/", grants.grant, name="secret_grant"),
    path("<slug:region>/secrets/<uuid:pk>/policy/", resource_policy.edit, name="secret_policy"),
    path("<slug:region>/secrets/<uuid:pk>/revoke/", grants.revoke, name="secret_revoke"),
    path("<slug:region>/secrets/<uuid:pk>/restore/", deletion.restore, name="secret_restore"),
    # ---- instances
    path("<slug:region>/instances/", instances.index, name="instances"),
    path("<slug:region>/instances/export.csv", exports.all_instances, name="instances_export"),
    path("<slug:region>/instances/register/", instances.register, name="instance_register"),
    path("<slug:region>/instances/<uuid:pk>/", instances.show, name="instance"),
    path("<slug:region>/instances/<uuid:pk>/live/", instances.live, name="instance_live"),
    path("<slug:region>/instances/<uuid:pk>/edit/", instance_changes.edit, name="instance_edit"),
    path("<slug:region>/instances/<uuid:pk>/retire/", retirement.retire, name="instance_retire"),
    path("<slug:region>/instances/<uuid:pk>/scan/", instances.scan, name="instance_scan"),
    path("<slug:region>/instances/<uuid:pk>/approve/", instance_changes.approve, name="instance_approve"),
    path("<slug:region>/instances/<uuid:pk>/check/", instances.check, name="instance_check"),
    path("<slug:region>/instances/<uuid:pk>/attach/", instance_changes.attach, name="instance_attach"),
    path("<slug:region>/instances/<uuid:pk>/own-login/", own_login.use, name="instance_own_login"),
    path("<slug:region>/instances/<uuid:pk>/rebind/", rebind.of_instance, name="instance_rebind"),
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
