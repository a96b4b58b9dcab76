"""How a command ends, as an exit code that a script can decide by; `docs/commands.md` has the same table.

Every code of a domain error stands here once, so that a new error is given its exit code with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from rotation import reasons
from rotation.models import Run
from secrets_app.errors import DomainError


class Exit(IntEnum):
    """1 is left to errors of Keyturn itself, which end with a traceback."""

    DONE = 0
    USAGE = 2  # the command line is wrong, or the value did not come on standard input
    REFUSED = 3  # the user may not do this, or may not act
    NOT_FOUND = 4  # there is nothing by this name that the user may see
    INVALID = 5  # something that was given cannot be used
    CONFLICT = 6  # it exists, is in use, or is in another state than this needs
    UNREACHABLE = 7  # the instance did not answer
    IDENTITY = 8  # the instance's host key or certificate is not approved, or has changed
    FAILED = 9  # the run failed
    BLOCKED = 10  # the run needs a person; nothing was changed
    UNFINISHED = 11  # the run goes on: it did not end in the time that was given
    UNAVAILABLE = 12  # Keyturn is sealed, a key of its own is missing, or its database does not answer
    TOO_OFTEN = 13  # a limit was reached; later it is allowed again
    WARNING = 14  # of `doctor`: something works, and may not for long
    UNKNOWN = 15  # of `doctor`: something could not be checked
    PROBLEM = 16  # of `doctor`: something does not work, or is not safe


_BY_EXIT: Final[Mapping[Exit, str]] = MappingProxyType({
    Exit.USAGE: "value_not_piped",
    Exit.REFUSED: """
        not_allowed refused acting_user_refused grant_to_oneself own_second_factor own_sign_in_reset
        tags_widen_rights system_policy
    """,
    Exit.NOT_FOUND: """
        not_found bulk_row_hidden link_void value_gone no_such_version access_key_gone replica_unknown
    """,
    Exit.INVALID: """
        domain_error invalid_argument region_code_invalid policy_document_invalid restore_reason_missing
        policy_principal_unknown resource_policy_public replica_region_invalid
        checkpoints_malformed password_unfit password_off_policy key_file_unreadable key_pair_unreadable
        no_reason unfit_reason reason_needed secret_name_invalid tag_invalid recovery_window_invalid
        key_alias_invalid key_window_invalid group_name_invalid machine_name_invalid not_a_machine
        region_mismatch kind_unsupported username_invalid override_reason_missing check_not_overridable
        address_forbidden login_name_invalid own_login_impossible schedule_unfit period_invalid cron_invalid
        time_zone_invalid jitter_invalid date_invalid bulk_too_many bulk_nothing_selected bulk_token_invalid
        secret_unmanaged credential_of_other_system value_too_large access_key_expiry_invalid
        access_key_network_invalid root_key_address_invalid share_invalid
        shares_do_not_fit backup_damaged backup_does_not_open backup_recipient_invalid
        backup_recipient_missing backup_of_other_schema authority_unfit bad_dependant sessions_not_ended
    """,
    Exit.CONFLICT: """
        region_code_taken region_retired last_region region_outdated region_not_empty policy_name_taken
        account_number_stays secret_is_replica secret_has_replicas replica_failed
        policy_outdated policy_attached last_administrator restore_settled restore_unacknowledged
        pending_value_exists version_not_pending version_without_value secret_name_taken secret_outdated
        secret_not_enabled secret_not_pending_deletion key_alias_taken key_state_wrong key_in_use key_unusable
        key_disabled restore_not_empty rewrap_under_way root_key_move_under_way root_key_is_the_same
        group_name_taken machine_name_taken identity_taken
        identity_linked_already only_way_to_sign_in user_name_taken user_disabled account_taken account_shared
        secret_is_login binding_changed run_past_cancelling run_not_retryable run_in_progress not_rotatable
        instance_in_use instance_name_taken address_taken instance_outdated credential_in_use
        instance_retired credential_deleted schedule_outdated bulk_over bulk_changed_outside run_overtaken
        run_handed_back already_exists current_label_stays label_elsewhere secret_is_managed
        version_token_taken labels_at_most versions_at_most access_keys_at_most access_key_without_principal
        access_key_unusable access_key_in_use value_outdated no_failed_dependants
        package_not_as_locked database_of_newer_version read_decided_on_old_rows read_repeated
    """,
    Exit.IDENTITY: """
        host_key_not_seen other_machine no_host_key host_key_changed certificate_changed name_changed
        certificate_early certificate_expired certificate_name certificate_untrusted
    """,
    Exit.BLOCKED: "instance_not_attached no_credential record_changed checkpoints_contradicted",
    Exit.UNAVAILABLE: """
        journal_away sealed tampered root_key_unavailable root_key_unfit seal_key_missing audit_key_missing
        bulk_internal_error
    """,
    Exit.TOO_OFTEN: "reads_too_often checks_too_often",
})  # fmt: skip
BY_CODE: Final[Mapping[str, Exit]] = MappingProxyType(
    {code: of for of, codes in _BY_EXIT.items() for code in codes.split()}
)

#: Reasons of a run that an instance gives which is away or slow.
_AWAY: Final = frozenset(code for code, row in reasons.ALL.items() if row.is_away)


def of_error(error: DomainError) -> Exit:
    """Return the exit code of what was not done."""
    return BY_CODE.get(error.code, Exit.INVALID)


def of_run(run: Run) -> Exit:
    """Return the exit code of a run as it stands: ended, or still going on."""
    if run.state == Run.State.ENDED and run.outcome == Run.Outcome.SUCCEEDED:
        return Exit.DONE
    # A host that was told the value, and is away since, may have it: that is more than away.
    if run.code in _AWAY and not run.attempts:
        return Exit.UNREACHABLE
    if run.state != Run.State.ENDED:
        return Exit.UNFINISHED
    if BY_CODE.get(run.code) == Exit.IDENTITY:
        return Exit.IDENTITY
    return Exit.BLOCKED if run.outcome == Run.Outcome.BLOCKED else Exit.FAILED
