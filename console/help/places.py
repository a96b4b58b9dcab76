"""Which chapter, and which section of it, explains a screen: by the name of its route.

A screen that is not listed leads to the list of chapters.
"""

from __future__ import annotations

from django.urls import reverse

from console.help import chapters

#: chapter and heading -> the routes of the screens that it explains.
_SECTIONS = {
    "screens#get-started": "home get_started",
    "screens#overview": "overview",
    "screens#search": "search",
    "screens#secrets": "secrets secret secret_edit list_preferences",
    "screens#create-secret": "secret_create secret_create_generic",
    "screens#one-secret": (
        "secret_rotate_back secret_rebind secret_resolve secret_reconcile secret_dependants "
        "secret_dependants_retry"
    ),
    "screens#values": "secret_reveal secret_put_value secret_labels",
    "screens#rotate-immediately": "secret_rotate",
    "screens#automatic-rotation": "secret_schedule",
    "screens#deletion": "secret_delete secret_restore",
    "screens#permissions-of-one-secret": "secret_grant secret_revoke secret_policy",
    "screens#instances": (
        "instances instance instance_register instance_edit instance_retire instance_approve instance_attach "
        "instance_own_login instance_rebind"
    ),
    "screens#credentials": "credentials credential credential_create credential_delete",
    "screens#rotations": "rotations run run_override",
    "screens#background-actions": "bulk_actions bulk_action bulk_cancel",
    "screens#users-and-groups": (
        "access users user user_edit user_disable user_enable user_revealed user_sessions user_reset_sign_in "
        "user_reset_factor invitations invite groups group group_create group_join group_leave"
    ),
    "screens#applications-and-access-keys": (
        "applications application application_create application_disable application_enable access_keys "
        "access_key_create access_key_rotate access_key_disable access_key_enable access_key_delete "
        "secret_use"
    ),
    "screens#policies": "policies policy policy_create policy_edit policy_delete policy_attach policy_detach",
    "screens#simulator-and-access-review": "simulator access_review",
    "screens#keys": "keys key key_create key_rewrap key_disable key_destroy",
    "screens#audit": "audit audit_event",
    "screens#settings": "settings settings_regions region_create region_rename region_retire",
    "screens#notifications": (
        "settings_notifications notification notification_create notification_edit notification_delete"
    ),
    "screens#your-account": (
        "sessions own_notifications account_change_password account_logout mfa_index mfa_activate_totp "
        "mfa_deactivate_totp "
        "mfa_add_webauthn mfa_remove_webauthn mfa_view_recovery_codes"
    ),
    "audit#look-up-a-value": "audit_look_up",
    "audit#how-it-is-checked": "audit_verify",
    "audit#when-an-older-database-was-restored": "restore restore_acknowledge",
    "fresh": "account_reauthenticate mfa_reauthenticate mfa_reauthenticate_webauthn openid_confirm",
    "configuration": "settings_mail settings_mail_test settings_rules",
    "operation#what-to-watch": "settings_about",
    "operation#doctor": "settings_health",
}
#: route -> chapter and heading.
PLACES = {route: place for place, routes in _SECTIONS.items() for route in routes.split()}


def url_of(route: str) -> str:
    """Return the address of the section that explains this screen."""
    name, _, anchor = PLACES.get(route, "").partition("#")
    if name not in chapters.BY_NAME:
        return reverse("help")
    return chapters.BY_NAME[name].url + (f"#{anchor}" if anchor else "")
