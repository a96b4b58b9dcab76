"""Each safety rule: the text that keeps it, what stands there when it is gone, and the test that notices."""

# ruff: noqa: E501
from __future__ import annotations

from dataclasses import dataclass

ENGINE, CHANGES = "rotation/engine.py", "rotation/changes.py"
KEYS, LEASES = "rotation/keys.py", "rotation/leases.py"
RUNS, MANAGED, INVENTORY = "rotation/runs.py", "rotation/managed.py", "rotation/inventory.py"
VERSIONS, KEYRING = "secrets_app/versions.py", "secrets_app/keyring.py"
SET_PASSWORD, EDIT_KEY = (
    "rotation/connectors/ssh_scripts/set_password.sh", "rotation/connectors/ssh_scripts/edit_key.sh",
)  # fmt: skip
CONTROL, DRIFT = "rotation/control.py", "rotation/drift.py"
T_ENGINE, T_KEYS = "tests/domain/test_engine.py", "tests/domain/test_engine_keys.py"
T_DRIFT, T_OVERRIDES = "tests/domain/test_drift.py", "tests/domain/test_overrides.py"
T_LEASES, T_OWN_LOGIN = "tests/domain/test_leases.py", "tests/domain/test_own_login.py"
T_KEYRING, T_REVEAL, T_CREATE = (
    "tests/domain/test_keyring.py", "tests/domain/test_reveal.py", "tests/domain/test_create.py",
)  # fmt: skip
T_CONTRACT = "tests/wires/test_connector_contract.py"
T_FAULTS = "tests/wires/test_ssh_faults.py"


@dataclass(frozen=True)
class Break:
    """One rule, and how it is taken out. `old` stands in `file` exactly once."""

    rule: str
    file: str
    old: str
    new: str
    test: str  # file::name; every parameter of it is run

    @property
    def name(self) -> str:
        return self.test.partition("::")[2]


BREAKS = (
    # ---- stored before, known after
    Break("a value is marked as offered, durably, before it is sent", CHANGES,
          "        versions.mark_offered(version)\n", "",
          f"{T_ENGINE}::test_the_value_is_stored_and_marked_before_the_host_hears_of_it"),
    Break("both halves of a key are stored before the host hears of either", ENGINE,
          '    version = _create(work)\n',
          '    version = _create(work)\n    if work.is_key_pair:\n        keys.add(work, version, 10**6)\n',
          f"{T_KEYS}::test_fi_k_05_both_halves_are_stored_before_the_host_hears_of_either"),
    Break("a value is stored before it is set", ENGINE,
          '    generation = changes.intend(work, version, facts)\n',
          '    changes.tell(work, version, 10**6)\n    generation = changes.intend(work, version, facts)\n',
          f"{T_ENGINE}::test_the_value_is_stored_and_marked_before_the_host_hears_of_it"),
    Break("a resumed run asks the host first", ENGINE,
          "    if is_open and changes.host_has(work, version, sends_again=True):", "    if False:",
          f"{T_ENGINE}::test_a_worker_killed_anywhere_is_followed_by_one_that_ends_in_success"),
    Break("a host that heard nothing is not asked", ENGINE,
          "    if is_open and changes.host_has(work, version, sends_again=True):",
          "    if changes.host_has(work, version, sends_again=True):",
          f"{T_ENGINE}::test_a_rotation_ends_with_the_new_value_current_and_on_the_host"),
    Break("after a lost answer the host is asked, not told again", CHANGES,
          "        if not host_has(work, version):\n            work.put_off(", "        if True:\n            work.put_off(",
          f"{T_ENGINE}::test_a_reply_that_is_lost_after_the_change_ends_in_success"),
    Break("no success without a test of the new value", ENGINE,
          "    proof = _test(work, version, facts)\n",
          "    proof = base.Proof(base.Verdict.ACCEPTED, base.Level.COMMAND)\n",
          f"{T_ENGINE}::test_a_host_that_lies_is_never_a_success"),
    Break("the host's own check comes before a counting login", CHANGES,
          "    quiet = work.probe(version)\n", "    quiet = base.Proof(base.Verdict.UNCLEAR)\n",
          f"{T_ENGINE}::test_a_host_that_lies_is_never_a_success"),
    Break("a value is replaced only once it is proven dead", ENGINE,
          "    if changes.host_has(work, version):\n        # pam", "    if False:\n        # pam",
          f"{T_ENGINE}::test_a_value_that_is_refused_because_it_is_there_already_is_a_success"),
    Break("a custom value is never replaced by a generated one", ENGINE,
          "    if refused and version.origin in {SecretVersion.Origin.CUSTOM, SecretVersion.Origin.EARLIER}:", "    if False:",
          f"{T_ENGINE}::test_a_custom_value_that_the_host_refuses_ends_the_run_and_is_not_replaced"),
    Break("a pending value that a host may have heard is used again", ENGINE,
          "        if pending is not None:\n", "        if pending is not None and versions.drop_pending(pending):\n",
          f"{T_ENGINE}::test_a_run_that_failed_leaves_a_value_that_the_next_one_sends_again"),
    Break("a blocked check stops the run", CHANGES,
          "    if blocked:\n        work.settle", "    if False:\n        work.settle",
          f"{T_ENGINE}::test_an_unreachable_host_is_tried_again_and_keeps_the_pending_value"),
    Break("the number of an attempt is above the host's", MANAGED,
          "max(account.generation, on_host) + 1", "max(account.generation, 1)",
          f"{T_ENGINE}::test_each_attempt_has_a_number_above_all_that_the_host_has_seen"),
    # ---- leases
    Break("every write names its lease's number", LEASES,
          "pk=lease.run_id, lease=lease.number, state=Run.State.RUNNING).update", "pk=lease.run_id).update",
          f"{T_ENGINE}::test_a_worker_that_was_overtaken_writes_nothing"),
    Break("one worker at a time talks to a host", LEASES,
          "    if _under_way().filter(instance=run.instance_id).exists():\n        return False\n", "",
          f"{T_ENGINE}::test_two_runs_on_one_instance_do_not_run_at_the_same_time"),
    Break("a run that has ended, or is held, is not taken up", LEASES,
          "    return runs.filter(_takeable(), pk=run_id).first()", "    return runs.filter(pk=run_id).first()",
          f"{T_ENGINE}::test_a_run_that_ended_between_two_looks_is_not_taken_up"),
    Break("a lease grows with every worker", LEASES,
          '            lease=F("lease") + 1,\n            leased_until', '            lease=1,\n            leased_until',
          f"{T_ENGINE}::test_a_worker_that_was_overtaken_writes_nothing"),
    Break("a lease that is handed back has a new number", LEASES,
          '        if not held.update(lease=F("lease") + 1, leased_until=Now()):', "        if not held.update(leased_until=Now()):",
          f"{T_LEASES}::test_a_lease_that_is_handed_back_in_a_step_is_free_and_its_worker_overtaken"),
    Break("a leaked value is replaced before all others", LEASES,
          '    return list(runs.order_by("-is_leak", "due_at")', '    return list(runs.order_by("due_at")',
          f"{T_LEASES}::test_leaked_ones_go_first_whichever_message_comes"),
    # ---- keys
    Break("the old key goes only after the new one is current", ENGINE,
          "    failpoints.reach(\"before_finish\")\n", "    if work.is_key_pair:\n        [keys._remove(work, v) "
          "for v in versions.not_removed(work.secret)] or keys._remove(work, work.secret.labelled(Label.Role.CURRENT))\n"
          "    failpoints.reach(\"before_finish\")\n",
          f"{T_KEYS}::test_a_worker_killed_anywhere_leaves_a_key_that_works_and_is_followed_to_success"),
    Break("an old key that still logs in is no success", KEYS,
          "        if proof.verdict == base.Verdict.ACCEPTED:\n", "        if False:\n",
          f"{T_KEYS}::test_an_old_key_that_still_logs_in_is_no_success"),
    Break("a key that sshd does not take is taken out again", KEYS,
          "        _remove(work, version)\n        notes.sentence = \"The new key", "        notes.sentence = \"The new key",
          f"{T_KEYS}::test_fi_k_06_a_key_that_sshd_does_not_take_is_taken_out_again"),
    # ---- the instance's own login, and what somebody else changed
    Break("a session stays open while an own login changes", ENGINE,
          "        with changes.lifeline(work):\n", "        if True:\n",
          f"{T_OWN_LOGIN}::test_no_login_but_the_open_session_could_have_put_it_right"),
    Break("a host is asked only where the account looks different", DRIFT,
          "    if traces.mark and _same(had, traces):", "    if False:",
          f"{T_DRIFT}::test_the_first_look_asks_once_and_later_ones_send_no_value"),
    Break("a value that a host may have heard is not reconciled away", RUNS,
          "        if pending and pending.offered_at and not pending.dead_at:\n            raise NotRotatable(",
          "        if False:\n            raise NotRotatable(",
          f"{T_DRIFT}::test_a_newer_value_that_the_host_may_have_is_finished_first"),
    Break("a host that lets a random password in is told nothing", CHANGES,
          " *control.check(work, facts)]", "]",
          f"{T_OVERRIDES}::test_fi_h_21_a_host_that_lets_a_random_password_in_is_blocked_before_it_is_told_anything"),
    Break("a random password is tried once a day", CONTROL,
          "    return last is None or last < timezone.now() - EVERY", "    return True",
          f"{T_OVERRIDES}::test_the_control_is_one_failed_login_a_day_for_an_instance"),
    # ---- the host
    Break("an older attempt is refused on the host", SET_PASSWORD,
          '[ "$generation" -ge "$recorded" ] || stop STALE\n', "",
          f"{T_CONTRACT}::test_the_same_generation_may_be_sent_again_and_an_older_one_may_not"),
    Break("an older attempt is refused on the host, for keys too", EDIT_KEY,
          '[ "$generation" -ge "$recorded" ] || stop STALE\n', "",
          "tests/wires/test_ssh_keys.py::test_c_04_an_older_attempt_is_stale_and_another_console_is_left_alone"),
    Break("a value without its commit line is not applied", SET_PASSWORD,
          ' && IFS= read -r commit && [ "$commit" = "$nonce COMMIT" ]', "",
          f"{T_FAULTS}::test_a_value_without_its_commit_line_is_never_applied"),
    Break("an exit status is no evidence", SET_PASSWORD,
          "    0:yes) stop APPLIED ;;\n    0:no |", "    0:*) stop APPLIED ;;\n   ",
          f"{T_FAULTS}::test_only_a_yes_with_a_change_is_success_and_only_a_no_without_one_is_refusal"),
    Break("a sudo that keeps what it reads is given no value", SET_PASSWORD,
          "! is_written_down || stop REFUSED sudo_log\n", "",
          "tests/wires/test_ssh.py::test_sudo_that_records_what_it_reads_is_given_no_value"),
    # ---- who may, and who sees
    Break("whoever starts a rotation may", RUNS,
          "    policies.require(actor, Action.ROTATE_SECRET, secret)\n    let_pass", "    let_pass",
          f"{T_ENGINE}::test_a_rotation_acts_for_somebody_who_may"),
    Break("a check is overridden only by who may", RUNS,
          "    policies.require(actor, Action.OVERRIDE_CHECK, secret)\n", "",
          f"{T_OVERRIDES}::test_an_override_needs_a_right_of_its_own"),
    Break("no value is revealed without its event", VERSIONS,
          "        audit.record(\n            policies.Action.GET_SECRET_VALUE,", "        str(\n            policies.Action.GET_SECRET_VALUE,",
          f"{T_REVEAL}::test_a_reveal_returns_the_value_and_leaves_one_event"),
    Break("no value is revealed without the right to it", VERSIONS,
          "    policies.require(actor, policies.Action.GET_SECRET_VALUE, secret)\n", "",
          f"{T_REVEAL}::test_who_may_not_read_values_gets_none"),
    Break("the event is durable before the value is opened", VERSIONS,
          "transaction.atomic(durable=True)", "transaction.atomic()",
          f"{T_REVEAL}::test_a_value_is_not_opened_inside_a_transaction_that_may_still_roll_back"),
    Break("no report of an error shows what was sent", "console/settings.py",
          "DEFAULT_EXCEPTION_REPORTER_FILTER = ", "ANOTHER = ",
          "tests/unit/test_reports.py::test_a_mailed_report_holds_no_field_no_cookie_and_no_variable"),
    Break("what others wrote is escaped", "templates/access/groups.html",
          "{{ row.name }}</a>", "{{ row.name|safe }}</a>",
          "tests/canaries/test_xss.py::test_xss_01_sixty_payloads_in_every_field_change_no_page"),
    Break("a sealed value is bound to its owner", KEYRING,
          'envelope.name("value", account_id, owner_id, subject_id, field)', 'envelope.name("value", account_id)',
          f"{T_KEYRING}::test_a_value_does_not_open_under_another_name"),
    Break("a disabled key opens nothing", KEYRING,
          "    if version.state not in {KeyVersion.State.PRIMARY, KeyVersion.State.ENABLED}:", "    if False:",
          f"{T_KEYRING}::test_a_key_version_that_is_not_enabled_opens_nothing"),
    Break("no root key is made over existing keys", KEYRING,
          "    if not provider.path.exists() and not KeyVersion.objects.exists():",
          "    if not provider.path.exists():",
          f"{T_KEYRING}::test_no_root_key_is_ever_made_over_existing_keys"),
    Break("a new address detaches the management credential", INVENTORY,
          "**(detached if moved else {}),", "",
          f"{T_CREATE}::test_a_new_address_detaches_the_credential"),
    Break("only an approved host key is trusted", INVENTORY,
          "    approved = instance.host_keys.filter(state=HostKey.State.APPROVED)\n    if not approved:",
          "    approved = instance.host_keys.all()\n    if not approved:",
          f"{T_CREATE}::test_a_key_that_was_only_seen_is_not_trusted"),
    Break("another host key detaches the management credential", INVENTORY,
          "        if had - wanted:", "        if False:",
          f"{T_CREATE}::test_another_host_key_detaches_the_credential"),
    Break("one machine registered twice is recognised", MANAGED,
          "    if instance.machine_id and fingerprints:", "    if False:",
          f"{T_CREATE}::test_one_machine_registered_twice_is_recognised_by_its_identity"),
)  # fmt: skip
