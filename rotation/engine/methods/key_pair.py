"""What only the rotation of a key pair does: add and prove a key, take it back, and clean up.

A host accepts both keys from the addition of the new one to the removal of the old one. The removal comes
last, after the new key is current. So a working key exists at any moment, and if a worker dies in between,
the next one continues and no key is lost.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final, NoReturn

from django.db import transaction

from rotation import leases, reasons
from rotation.connectors import base
from rotation.engine import failpoints
from rotation.engine.work import BACK_OFF, PROBE, SET, TEST, Stop, Work
from rotation.inventory import management
from rotation.models import Run, Step
from secrets_app import prepared
from secrets_app.crypto import key_pairs
from secrets_app.models import Label, Secret, SecretVersion
from secrets_app.secrets import versions

KIND: Final = base.Kind.KEY
REPLACES: Final = False
_ELSEWHERE = (
    "key_by_command",
    "sshd_unseen",
)  # why a key in none of the files may be one that the host knows
MOST_LEFTOVERS = 5  # old keys that one run removes, newest first
_OLD = prepared.Question(
    lambda secret, current: (
        versions.not_removed(secret).exclude(public_key=current).select_related("sealed")[:MOST_LEFTOVERS]
    )
)


def generate(secret: Secret, username: str) -> versions.Value:
    """Make a key pair of the secret's algorithm."""
    pair = key_pairs.generate(secret.key_algorithm)
    return versions.Value(username, public_key=pair.public_key, private_key=pair.private_key)


def tell(work: Work, version: SecretVersion, generation: int) -> None:
    """Have the host accept the new key too. Raises as `Connector.add_key` does."""
    work.told = work.keys.add_key(
        work.manager,
        work.account.username,
        version.public_key,
        like=_beside(work, version),
        fence=base.Fence(work.console_id, generation),
        timeout=SET,
        allowed=work.run.overrides,
    )


def _beside(work: Work, version: SecretVersion) -> str:
    """Return the key whose lines and options the new key gets: the current key, or an earlier one.

    A restored snapshot has an earlier key in place of the current one, with the same options.
    """
    current = work.labelled(Label.Role.CURRENT)
    if current is None:
        return ""
    older = [old for old in _leftovers(work) if old.public_key != version.public_key]
    if not older or work.probe(current).is_listed:
        return current.public_key
    return next((old.public_key for old in older if work.probe(old).is_listed), current.public_key)


def control(work: Work, facts: base.Facts) -> Iterable[base.Check]:
    """Return no line: a random key, unlike a random password, counts as no failure and proves nothing."""
    return ()


def probe(work: Work, version: SecretVersion) -> base.Proof:
    """Ask whether the key stands in a file that the host reads for the account.

    If the host may know the current key from another source than a file, a login with it decides. For other
    keys the file is enough, so that no login fails for them.
    """
    listed = work.keys.probe_key(work.manager, work.account.username, version.public_key, timeout=PROBE)
    if listed.code not in _ELSEWHERE:
        return listed
    current = work.labelled(Label.Role.CURRENT)
    if current is not None and current.pk == version.pk and version.sealed_id:
        return _log_in(work, version)
    return base.Proof(base.Verdict.REJECTED, base.Level.LISTED)


def ask(work: Work, version: SecretVersion) -> base.Proof:
    """As `probe`; of a key that sshd refused last, only a login says more than that it is in its file."""
    listed = probe(work, version)
    if listed.verdict != base.Verdict.ACCEPTED or listed.level != base.Level.LISTED or not version.is_doubted:
        return listed
    proof = _log_in_as_listed(work, work.value(version), listed)
    if proof.verdict != base.Verdict.REJECTED:
        return proof
    versions.mark_refused(version)
    return replace(
        proof, reason=proof.reason or reasons.sentence("key_refused"), code=proof.code or "key_refused"
    )


def prove(work: Work, version: SecretVersion, facts: base.Facts) -> base.Proof:
    """Log in with the key. A refusal has `Level.LISTED` if the file lacks it, `Level.LOGIN` if sshd refused.

    If sshd refuses a key that the file lists, the reason comes from the options in the file; only a login
    decides. A host that has just put the key into a file is asked where it stands only if the login is
    refused. From the second attempt on it is asked first, so that a key that is gone again fails one login.
    """
    held = work.value(version)
    told, work.told = work.told, None
    if told is not None and told.is_listed and work.run.attempts <= 1:
        proof = _log_in_with(work, held)
        if proof.verdict != base.Verdict.REJECTED:
            return proof
        listed = work.probe(version)
        if listed.verdict == base.Verdict.REJECTED:
            return listed
        return replace(proof, reason=listed.reason, code=listed.code)
    listed = work.probe(version)
    if listed.verdict == base.Verdict.REJECTED:
        return listed
    return _log_in_as_listed(work, held, listed)


def _log_in_as_listed(work: Work, held: versions.Value, listed: base.Proof) -> base.Proof:
    """Log in with a key that stands in its file; if it is refused, the options there may say why."""
    proof = _log_in_with(work, held)
    if proof.verdict == base.Verdict.REJECTED:
        return replace(proof, reason=listed.reason, code=listed.code)
    return proof


def _log_in(work: Work, version: SecretVersion) -> base.Proof:
    return _log_in_with(work, work.value(version))


def _log_in_with(work: Work, held: versions.Value) -> base.Proof:
    return work.connector.prove_login(base.Login(held.username, private_key=held.private_key), timeout=TEST)


def undo(work: Work, version: SecretVersion, facts: base.Facts | None, proof: base.Proof) -> None:
    """Remove a key again that sshd refuses; if the file does not hold it, there is nothing to remove."""
    if proof.verdict == base.Verdict.REJECTED and proof.level == base.Level.LOGIN:
        _take_back(work, version, proof)


def _take_back(work: Work, version: SecretVersion, proof: base.Proof) -> NoReturn:
    """Remove a new key that sshd passes over although it stands in its file, and end the run."""
    with work.step(Step.Name.CLEAN) as notes:
        _remove(work, version)
        notes.sentence = "The new key is taken out again; the old one was not touched."
    with transaction.atomic():
        leases.hold(work.lease)
        versions.drop_pending(version)
    work.labels_moved()
    work.fail(version, proof.code or "key_refused", proof.reason or reasons.sentence("key_refused"))


def is_due(work: Work) -> bool:
    """Return True: the old key is accepted until it is removed."""
    return True


def disprove(work: Work) -> str:
    """Return nothing: each old key was shown to be refused when it was removed."""
    return ""


def clean(work: Work) -> None:
    """Remove every old key and prove each one refused; if that fails, put the run off or end it."""
    leftovers = _leftovers(work)
    if leftovers:
        work.overlap()
    try:
        for old in leftovers:
            _clean(work, old)
    except (base.ConnectorError, management.NotAttached) as error:
        _put_off(work, error)


def _leftovers(work: Work) -> list[SecretVersion]:
    """The versions whose key the host may still accept, but for those that hold the current one's."""
    current = work.labelled(Label.Role.CURRENT)
    assert current is not None
    return _OLD(work.secret.pk, current.public_key)


def _clean(work: Work, old: SecretVersion) -> None:
    failpoints.reach("before_clean")
    with work.step(Step.Name.CLEAN, is_kept=True) as notes:
        _remove(work, old)
        failpoints.reach("after_remove")
        proof = _log_in(work, old) if old.sealed_id else work.probe(old)
        if proof.verdict == base.Verdict.UNCLEAR:
            raise base.Unreachable(proof.reason)
        if proof.verdict == base.Verdict.ACCEPTED:
            raise base.Refused(reasons.sentence("old_key_works"), code="old_key_works")
        notes.sentence = "The old key is removed, and a login with it is refused."
    with transaction.atomic():
        leases.hold(work.lease)
        versions.mark_removed(old)


def _remove(work: Work, version: SecretVersion) -> None:
    work.keys.remove_key(
        work.manager,
        work.account.username,
        version.public_key,
        fence=base.Fence(work.console_id, work.account.generation),
        timeout=SET,
    )


def _put_off(work: Work, error: base.ConnectorError | management.NotAttached) -> NoReturn:
    """Wait, or end the run as failed; either way the new key is current and known to work."""
    sentence = f"The new key is current. The old one may still be accepted: {error}"
    if reasons.waits(error.code) and work.run.waits < len(BACK_OFF):
        leases.wait(work.lease, BACK_OFF[work.run.waits], code=error.code, sentence=sentence)
    else:
        leases.end(work.lease, Run.Outcome.FAILED, truth=Run.Truth.NEW, code=error.code, sentence=sentence)
    raise Stop
