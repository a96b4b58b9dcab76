"""Who may do what, and what opens each route: written out here, and computed by nothing of the product.

A route that stands in no row of `ROUTES` fails, by its name, whoever added it.
"""

from __future__ import annotations

from dataclasses import dataclass

#: Every list and every look, but at no value.
READS = {
    "kms:ListSecrets", "kms:DescribeSecret", "kms:ListGrants", "kms:ListInstances", "kms:DescribeInstance",
    "kms:ListManagementCredentials", "kms:DescribeManagementCredential", "kms:ListRotations",
    "kms:DescribeRotation", "kms:ListKeys", "kms:DescribeKey", "kms:ListUsers", "kms:DescribeUser",
    "kms:ListAccessKeys", "kms:ListGroups", "kms:ListPolicies", "kms:DescribePolicy", "kms:ListAuditEvents",
    "kms:DescribeSettings",
}  # fmt: skip
ROTATES = {
    "kms:ListSecrets", "kms:DescribeSecret", "kms:RotateSecret", "kms:ListInstances",
    "kms:DescribeInstance", "kms:CheckInstance", "kms:ListRotations", "kms:DescribeRotation",
}  # fmt: skip
GRANTED = {"kms:DescribeSecret", "kms:GetSecretValue", "kms:RotateSecret", "kms:DescribeRotation"}

#: name -> scope -> actions. `own`: what stands in region main or is called own-...; `granted`: by a grant on
#: each secret of main, and by no policy.
PERSONS: dict[str, dict[str, set[str]]] = {
    "anonymous": {},
    "disabled": {},  # an administrator until a moment ago, with a session that was open
    "ann": {},  # nobody gave her anything
    "bea": {"own": READS},
    "cal": {"own": ROTATES},
    "gil": {"granted": GRANTED},
    "sue": {"own": {"kms:*"}},  # everything there, and no KMS full access
    "hal": {"everywhere": {"kms:ListSecrets", "kms:DescribeSecret", "kms:RestoreSecret"}},
    "aud": {"everywhere": READS | {"kms:VerifyAuditTrail"}},
    "dot": {"everywhere": {"kms:*"}},
}
STRANGERS = {"anonymous", "disabled"}
FULL_ACCESS = {"dot"}


@dataclass(frozen=True)
class Route:
    """What a route is about, what opens it in this order, and what those get whom it lets in.

    A gate is an action, asked of the object, which else answers 403; or it begins with a word: `sees` (what
    one may not describe is not there: 404), `here` (asked of the region in the URL), `anywhere` (there could
    be something), or is one of `region`, `exists`, `mine`, `part` (404 where there is none), `full` (403).
    `answers` gives a status, or one for a page and one for htmx, to each method; every other method is 405.
    """

    of: str
    gates: str
    answers: str
    strangers: str = ""  # nothing: they are led to sign-in
    #: Whoever signed in long ago confirms who they are first; a text: before this method alone.
    asks_again: bool | str = False

    @property
    def opened_by(self) -> list[str]:
        return [gate.strip() for gate in self.gates.split(",") if gate.strip()]


#: Who is led to the one region that they see, where others choose one: name, person, method on All regions.
LED_ON = {("secret_create", "sue", "GET"), ("secret_create_generic", "sue", "GET")}

SECRET = "sees kms:DescribeSecret, "
INSTANCE = "sees kms:DescribeInstance, "
RUN = "sees kms:DescribeRotation, "
KEY, USER, POLICY = "sees kms:DescribeKey, ", "sees kms:DescribeUser, ", "sees kms:DescribePolicy, "
ACCESS_KEY = "sees kms:ListAccessKeys, sees kms:DescribeUser, "
GROUP = "anywhere kms:ListGroups, exists, "
SETTINGS = "anywhere kms:DescribeSettings, "
NOTIFIES = SETTINGS + "anywhere kms:ManageNotifications"
LOOK = "GET HEAD 200"
FORM, EMPTY_FORM = "GET HEAD 200, POST 422", "GET 200, POST 422"
#: The library answers these before it looks at the method.
ANY = "GET HEAD POST PUT PATCH DELETE OPTIONS TRACE"

ROUTES: dict[str, Route] = {
    # ---- for everybody
    "livez": Route("", "", "GET HEAD 200", strangers="GET HEAD 200"),
    "readyz": Route("", "", "GET HEAD 200", strangers="GET HEAD 200"),
    "healthz": Route("", "", "GET HEAD 503", strangers="GET HEAD 503"),  # no worker runs here
    "account_login": Route(
        "", "", f"{ANY} 302/200", strangers="GET HEAD 200, POST 200/422"
    ),
    "account_logout": Route(
        "", "", "GET HEAD 200, POST 302", strangers="GET HEAD POST 302"
    ),
    "account_inactive": Route("", "", LOOK, strangers=LOOK),
    "invitation": Route("", "", "GET POST 409", strangers="GET POST 410"),
    "invitation_open": Route("link", "exists", "GET HEAD 302", strangers="GET HEAD 302"),
    # An identity provider is configured, and nobody answers there; nobody has an identity of it.
    "openid_sign_in": Route("", "", "POST 302", strangers="POST 503"),
    "openid_callback": Route("", "", "GET 409", strangers="GET 409"),
    "openid_accept": Route("", "", "POST 409", strangers="POST 410"),
    "openid_confirm": Route("", "", "GET HEAD POST 302"),
    "openid_link": Route("", "", "POST 503", asks_again=True),
    "openid_unlink": Route("", "", "POST 404", asks_again=True),
    # ---- one's own
    "account_change_password": Route("", "", "GET HEAD POST 200"),
    "account_reauthenticate": Route("", "", FORM),
    "mfa_reauthenticate": Route("", "", f"{ANY} 302"),  # nobody here has an app
    "mfa_reauthenticate_webauthn": Route("", "", FORM),
    "mfa_authenticate": Route("", "", f"{ANY} 302"),
    "mfa_index": Route("", "", LOOK),
    "mfa_activate_totp": Route("", "", "GET HEAD POST 200", asks_again=True),
    "mfa_deactivate_totp": Route("", "", f"{ANY} 404", asks_again=True),
    "mfa_add_webauthn": Route("", "", "GET HEAD POST 200", asks_again=True),
    "mfa_remove_webauthn": Route(
        "passkey", "mine", "GET HEAD 200, POST 302", asks_again=True
    ),
    "mfa_view_recovery_codes": Route("", "", "GET POST 200", asks_again=True),
    "session": Route("", "", "GET HEAD 204"),
    "session_stay": Route("", "", "POST 204"),
    "sessions": Route("", "", LOOK),
    "own_notifications": Route("", "", "GET HEAD 200, POST 302"),
    "list_preferences": Route("", "", "GET 404, POST 302/200"),
    "sessions_end_others": Route("", "", "POST 302"),
    "session_end": Route("session", "mine", "POST 302"),
    "home": Route("", "", "GET HEAD 302"),
    "search": Route("", "", LOOK),
    "away": Route("", "", LOOK, strangers="GET HEAD 204"),
    "get_started": Route("", "", LOOK),
    "help": Route("", "", LOOK),
    "help_chapter": Route("chapter", "exists", LOOK),
    # ---- people
    "access": Route("", "anywhere kms:ListUsers", "GET HEAD 302"),
    "users": Route("", "anywhere kms:ListUsers", LOOK),
    "users_export": Route("", "anywhere kms:ListUsers", LOOK),
    "user": Route("user", USER, LOOK),
    "user_edit": Route("user", USER + "kms:UpdateUser", "GET HEAD 200, POST 302/200", asks_again=True),
    "user_disable": Route("user", USER + "kms:DisableUser", "GET HEAD 200, POST 302/200", asks_again=True),
    "user_enable": Route(
        "disabled user", USER + "kms:DisableUser, full", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "user_revealed": Route("user", USER + "anywhere kms:ListAuditEvents", "GET HEAD 200, POST 302"),
    "user_sessions": Route("user", USER, LOOK),
    "user_sessions_end": Route("user", USER + "kms:UpdateUser", "POST 302"),
    "user_reset_sign_in": Route(
        "user", USER + "kms:ResetSignIn, full", "GET HEAD 200, POST 422", asks_again=True
    ),
    "user_reset_factor": Route("user", USER + "kms:ResetSecondFactor", EMPTY_FORM, asks_again=True),
    "invitations": Route("", "anywhere kms:ListUsers", LOOK),
    "invitations_export": Route("", "anywhere kms:ListUsers", LOOK),
    "invite": Route("", "anywhere kms:CreateUser", EMPTY_FORM, asks_again=True),
    "invitation_renew": Route(
        "invitation", "anywhere kms:CreateUser, sees kms:DescribeUser", "POST 200", asks_again=True
    ),
    "invitation_revoke": Route(
        "invitation", "anywhere kms:CreateUser, sees kms:DescribeUser", "POST 302", asks_again=True
    ),
    "groups": Route("", "anywhere kms:ListGroups", LOOK),
    "groups_export": Route("", "anywhere kms:ListGroups", LOOK),
    "group_create": Route("", "anywhere kms:CreateGroup, full", FORM, asks_again=True),
    "group": Route("group", GROUP, LOOK),
    "group_join": Route("group", GROUP + "kms:UpdateGroup, full", FORM, asks_again=True),
    "group_leave": Route(
        "member", GROUP + "kms:UpdateGroup, full, part", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "applications": Route("", "anywhere kms:ListUsers", LOOK),
    "applications_export": Route("", "anywhere kms:ListUsers", LOOK),
    "application_create": Route("", "anywhere kms:CreateUser", FORM, asks_again=True),
    "application": Route("application", USER, LOOK),
    "application_disable": Route(
        "application", USER + "kms:DisableUser", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "application_enable": Route(
        "disabled application", USER + "kms:DisableUser, full", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "access_keys": Route("", "anywhere kms:ListAccessKeys", LOOK),
    "access_keys_export": Route("", "anywhere kms:ListAccessKeys", LOOK),
    "access_key_create": Route("", "anywhere kms:CreateAccessKey", EMPTY_FORM, asks_again=True),
    "access_key_rotate": Route(
        "access key", ACCESS_KEY + "kms:CreateAccessKey, full", "GET HEAD 200, POST 409", asks_again=True
    ),
    "access_key_disable": Route(
        "access key", ACCESS_KEY + "kms:UpdateAccessKey", "GET HEAD 200, POST 302/200"
    ),
    "access_key_enable": Route(
        "access key", ACCESS_KEY + "kms:UpdateAccessKey, full", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "access_key_delete": Route(
        "access key", ACCESS_KEY + "kms:DeleteAccessKey", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    # ---- policies
    "policies": Route("", "anywhere kms:ListPolicies", LOOK),
    "policies_export": Route("", "anywhere kms:ListPolicies", LOOK),
    "policy_create": Route("", "anywhere kms:CreatePolicy, full", FORM, asks_again=True),
    "policy": Route("policy", POLICY, LOOK),
    "policy_edit": Route("policy", POLICY + "kms:UpdatePolicy, full", FORM, asks_again=True),
    "policy_delete": Route(
        "policy", POLICY + "kms:DeletePolicy, full", "GET HEAD 200, POST 409", asks_again=True
    ),
    "policy_attach": Route("", "anywhere kms:AttachPolicy, full", FORM, asks_again=True),
    "policy_detach": Route(
        "attachment", POLICY + "kms:AttachPolicy, full", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "simulator": Route("", "anywhere kms:SimulatePolicy", LOOK),
    "access_review": Route(
        "", "anywhere kms:ListUsers, anywhere kms:ListPolicies, anywhere kms:ListSecrets", LOOK
    ),
    "access_review_export": Route(
        "", "anywhere kms:ListUsers, anywhere kms:ListPolicies, anywhere kms:ListSecrets", LOOK
    ),
    # ---- background actions
    "bulk_actions": Route("", "", LOOK),
    "bulk_bell": Route("", "", LOOK),
    "bulk_action": Route("bulk", "mine", LOOK),
    "bulk_progress": Route("bulk", "mine", LOOK),
    "bulk_export": Route("bulk", "mine", LOOK),
    "bulk_pause": Route("bulk", "mine", "POST 302/200"),
    "bulk_resume": Route("bulk", "mine", "POST 302/200"),
    "bulk_cancel": Route("bulk", "mine", "GET HEAD 200, POST 302/200"),
    # Nothing is selected.
    "secrets_bulk": Route("region", "region, here kms:ListSecrets", "POST 409"),
    "rotations_bulk": Route(
        "region", "region, here kms:ListRotations, anywhere kms:RotateSecret", "POST 409"
    ),
    # ---- the audit trail
    "audit": Route("", "anywhere kms:ListAuditEvents", LOOK),
    "audit_event": Route("event", "anywhere kms:ListAuditEvents, exists", LOOK),
    "audit_export_csv": Route("", "anywhere kms:ListAuditEvents", LOOK),
    "audit_export_json": Route("", "anywhere kms:ListAuditEvents", LOOK),
    "audit_export_shape": Route("shape", "anywhere kms:ListAuditEvents, exists", LOOK),
    "audit_verify": Route("", "anywhere kms:VerifyAuditTrail", "POST 200"),
    "audit_look_up": Route("", "anywhere kms:LookUpValue", EMPTY_FORM, asks_again=True),
    # No older database was restored here.
    "restore": Route("", "anywhere kms:ListAuditEvents", LOOK),
    "restore_progress": Route("", "anywhere kms:ListAuditEvents", LOOK),
    "restore_acknowledge": Route("", "anywhere kms:AcknowledgeRestore", "GET POST 409", asks_again=True),
    "restore_verify": Route("", "anywhere kms:AcknowledgeRestore", "POST 409", asks_again=True),
    # ---- keys
    "keys": Route("", "anywhere kms:ListKeys", LOOK),
    "keys_export": Route("", "anywhere kms:ListKeys", LOOK),
    "key_create": Route("", "anywhere kms:CreateKey", EMPTY_FORM, asks_again=True),
    "key": Route("key", KEY, LOOK),
    "key_progress": Route("key", KEY, LOOK),
    "key_new_version": Route("key", KEY + "kms:UpdateKey", "POST 302/200", asks_again=True),
    "key_rewrap": Route("key", KEY + "kms:UpdateKey", EMPTY_FORM, asks_again=True),
    "key_disable": Route("key", KEY + "kms:DisableKey", EMPTY_FORM, asks_again=True),
    "key_enable": Route("disabled key", KEY + "kms:EnableKey", "POST 302/200", asks_again=True),
    "key_destroy": Route("key", KEY + "kms:ScheduleKeyDeletion", EMPTY_FORM, asks_again=True),
    "key_cancel": Route("doomed key", KEY + "kms:CancelKeyDeletion", "POST 302/200", asks_again=True),
    # ---- settings
    "settings": Route("", "anywhere kms:DescribeSettings", "GET HEAD 302"),
    "settings_regions": Route("", "anywhere kms:DescribeSettings", LOOK),
    "regions_export": Route("", "anywhere kms:DescribeSettings", LOOK),
    "region_create": Route("", SETTINGS + "anywhere kms:CreateRegion", FORM, asks_again=True),
    "region_rename": Route("region row", SETTINGS + "exists, kms:UpdateRegion", FORM, asks_again=True),
    "region_retire": Route("region row", SETTINGS + "exists, kms:RetireRegion", FORM, asks_again=True),
    "settings_mail": Route("", "anywhere kms:DescribeSettings", LOOK),
    # No mail server is configured here.
    "settings_mail_test": Route("", SETTINGS + "anywhere kms:SendTestMail", "POST 409"),
    "settings_notifications": Route("", NOTIFIES, LOOK),
    "notification_create": Route("", NOTIFIES, FORM, asks_again=True),
    "notification": Route("subscription", NOTIFIES + ", exists", LOOK),
    "deliveries_export": Route("subscription", NOTIFIES + ", exists", LOOK),
    "notification_edit": Route("subscription", NOTIFIES + ", exists", FORM, asks_again=True),
    "notification_delete": Route(
        "subscription", NOTIFIES + ", exists", "GET HEAD 200, POST 302/200", asks_again=True
    ),
    "notification_test": Route("subscription", NOTIFIES + ", exists", "POST 302", asks_again=True),
    "delivery_again": Route("delivery", NOTIFIES + ", exists", "POST 302"),
    "settings_rules": Route("", "anywhere kms:DescribeSettings", LOOK),
    "settings_health": Route("", "anywhere kms:DescribeSettings", LOOK),
    "settings_about": Route("", "anywhere kms:DescribeSettings", LOOK),
    # ---- management credentials
    "credentials": Route("", "anywhere kms:ListManagementCredentials", LOOK),
    "credentials_export": Route("", "anywhere kms:ListManagementCredentials", LOOK),
    "credential_create": Route("", "anywhere kms:CreateManagementCredential", FORM, asks_again=True),
    "credential": Route("credential", "sees kms:DescribeManagementCredential", LOOK),
    "credential_delete": Route(
        "credential", "sees kms:DescribeManagementCredential, kms:DeleteManagementCredential", FORM,
        asks_again=True,
    ),
    # ---- secrets
    "overview": Route("region", "anywhere kms:ListRotations, region, here kms:ListRotations", LOOK),
    "secrets": Route("region", "region, here kms:ListSecrets", LOOK),
    "secrets_export": Route("region", "region, here kms:ListSecrets", LOOK),
    "secret_create": Route(
        "region", "anywhere kms:CreateSecret, region, here kms:ListInstances", EMPTY_FORM, asks_again="POST"
    ),
    "secret_create_generic": Route(
        "region", "anywhere kms:CreateSecret, region", EMPTY_FORM, asks_again=True
    ),
    "secret_put_value": Route("token", SECRET + "kms:PutSecretValue", EMPTY_FORM, asks_again=True),
    "secret_labels": Route(
        "token version", SECRET + "kms:PutSecretValue, part", "GET 200, POST 302/200", asks_again=True
    ),
    "secret_create_instance": Route("region", "region, here kms:ListInstances", LOOK),
    "secret_create_dates": Route("region", "anywhere kms:CreateSecret, region", LOOK),
    "secret_create_check": Route(
        "region",
        "anywhere kms:CreateSecret, region, here kms:ListInstances, sees kms:DescribeInstance, "
        "kms:CheckInstance",
        "POST 202",
    ),
    "secret_create_checked": Route("checked run", "anywhere kms:CreateSecret, " + RUN, LOOK),
    "secret_create_key_pair": Route("region", "anywhere kms:CreateSecret, region", "POST 200"),
    "secret": Route("secret", SECRET, LOOK),
    "secret_menu": Route("secret", SECRET, LOOK),
    "secret_use": Route("secret", SECRET, LOOK),
    "secret_rotate": Route("secret", SECRET + "kms:RotateSecret", EMPTY_FORM),
    "secret_rotate_back": Route(
        "secret version", SECRET + "kms:RotateSecret, kms:PutSecretValue, part", "GET 200, POST 302/200",
        asks_again=True,
    ),
    "secret_reveal": Route("secret", SECRET + "kms:GetSecretValue", "GET POST 200", asks_again=True),
    "secret_download": Route("pair", SECRET + "kms:GetSecretValue", "POST 200", asks_again=True),
    "secret_edit": Route("secret", SECRET + "kms:UpdateSecret", EMPTY_FORM, asks_again=True),
    "secret_schedule": Route("secret", SECRET + "kms:UpdateSecretRotationPolicy", EMPTY_FORM),
    "secret_schedule_dates": Route("secret", SECRET + "kms:UpdateSecretRotationPolicy", LOOK),
    "secret_drift": Route("secret", SECRET + "kms:RotateSecret", "POST 302/200"),
    "secret_reconcile": Route("secret", SECRET + "kms:RotateSecret", "GET 200, POST 302/200"),
    "secret_dependants": Route(
        "windows", SECRET + "kms:UpdateSecretRotationPolicy", "GET 200, POST 302/200", asks_again=True
    ),
    "secret_dependants_look": Route(
        "windows", SECRET + "kms:RotateSecret, kms:CheckInstance, kms:ManageAccount", "POST 302/200"
    ),
    "secret_dependants_retry": Route("windows", SECRET + "kms:RotateSecret", "GET 200, POST 302/200"),
    "secret_resolve": Route("doubt", SECRET + "kms:ResolveRotation", EMPTY_FORM, asks_again=True),
    "secret_delete": Route("secret", SECRET + "kms:DeleteSecret", EMPTY_FORM, asks_again=True),
    "secret_rebind": Route("secret", SECRET + "kms:RebindManagedAccount", FORM, asks_again=True),
    "secret_restore": Route("pending", SECRET + "kms:RestoreSecret", "GET 200, POST 302/200"),
    "secret_grant": Route("secret", SECRET + "kms:CreateGrant", FORM, asks_again=True),
    "secret_revoke": Route("secret", SECRET + "kms:RevokeGrant", FORM, asks_again=True),
    "secret_policy": Route("secret", SECRET + "kms:SetSecretPolicy, full", FORM, asks_again=True),
    # ---- instances
    "instances": Route("region", "region, here kms:ListInstances", LOOK),
    "instances_export": Route("region", "region, here kms:ListInstances", LOOK),
    "instance_register": Route(
        "region", "region, here kms:RegisterInstance, anywhere kms:ListManagementCredentials", FORM
    ),
    "instance": Route("instance", INSTANCE, LOOK),
    "instance_live": Route("instance", INSTANCE, LOOK),
    "instance_edit": Route("instance", INSTANCE + "kms:UpdateInstance", FORM, asks_again=True),
    "instance_retire": Route("instance", INSTANCE + "kms:DeregisterInstance", FORM, asks_again=True),
    "instance_scan": Route("instance", INSTANCE + "kms:CheckInstance", "POST 302/202"),
    "instance_check": Route("instance", INSTANCE + "kms:CheckInstance", "POST 302/202"),
    "instance_approve": Route("instance", INSTANCE + "kms:ApproveHostKey", FORM, asks_again=True),
    "instance_attach": Route(
        "instance",
        INSTANCE + "kms:UseManagementCredential, anywhere kms:ListManagementCredentials",
        FORM,
        asks_again=True,
    ),
    "instance_own_login": Route(
        "instance", INSTANCE + "kms:UseManagementCredential, anywhere kms:ListSecrets", FORM,
        asks_again=True,
    ),
    "instance_rebind": Route(
        "instance", INSTANCE + "anywhere kms:RebindManagedAccount", "GET HEAD 200, POST 409",
        asks_again=True,
    ),
    # ---- rotations
    "rotations": Route("region", "region, here kms:ListRotations", LOOK),
    "rotations_export_csv": Route("region", "region, here kms:ListRotations", LOOK),
    "rotations_export_json": Route("region", "region, here kms:ListRotations", LOOK),
    "run": Route("failed run", RUN, LOOK),
    "run_steps": Route("failed run", RUN, LOOK),
    "run_cancel": Route("queued run", RUN + SECRET + "kms:RotateSecret", "POST 302/200"),
    "run_retry": Route("failed run", RUN + SECRET + "kms:RotateSecret", "POST 302/200"),
    "run_override": Route(
        "blocked run", RUN + SECRET + "kms:RotateSecret, kms:OverridePreflightCheck", EMPTY_FORM,
        asks_again=True,
    ),
}  # fmt: skip
