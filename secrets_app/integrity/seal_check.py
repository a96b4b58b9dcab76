"""Which rows and sets that decide are not as Keyturn wrote them: read row by row, for a person to look at.

The only writer of changed records, which the Overview shows. It mends nothing but what `accept` is asked to,
which is recorded.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from django.apps import apps
from django.contrib.auth.models import Group
from django.db import transaction

from secrets_app import seal_sets, seals
from secrets_app.audit import trail
from secrets_app.models import AuditEvent, ChangedRecord, Principal, Secret, User
from secrets_app.people import users
from secrets_app.seals import SealedRow

CHUNK = 1_000
MOST = 500  # that are noted: when it is more, one is enough to know


@dataclass(frozen=True)
class Broken:
    """One row or set whose seal does not hold."""

    name: str  # the table and the row's id, as `accept` takes it
    sentence: str


def broken() -> Iterator[Broken]:
    """Everything whose seal does not hold. Raises `seals.KeyMissing`."""
    for model in tables():
        rows = model._base_manager.order_by("pk")
        for row in rows.select_related(*_related(model)).iterator(chunk_size=CHUNK):
            if not seals.holds(row):
                yield Broken(f"{row.table()}:{row.pk}", f"The {_words(row)} was changed outside Keyturn.")
    yield from _broken_sets()


def check() -> int:
    """Note everything whose seal does not hold, and record what is new; return how much it is.

    Raises `seals.KeyMissing`.
    """
    sentences = {row.name: row.sentence for row in islice(broken(), MOST)}
    with transaction.atomic():
        ChangedRecord.objects.exclude(name__in=list(sentences)).delete()
        known = set(ChangedRecord.objects.values_list("name", flat=True))
        for name in sorted(sentences.keys() - known):
            ChangedRecord.objects.create(name=name, sentence=sentences[name][:300])
            trail.record(
                "kms:NoticeChange",
                name,
                actor=users.system(),
                outcome=AuditEvent.Outcome.FAILED,
                details={"found": sentences[name][:300]},
            )
    return len(sentences)


def accept(name: str, *, actor: Principal, reason: str) -> None:
    """Seal the row or set with this name as it stands now. Raises LookupError where there is none.

    For administrators of Keyturn's machine, so no right is checked.
    """
    kind, _, pk = name.rpartition(":")
    with transaction.atomic():
        if kind in _SETS:
            seal_sets.accept(_SETS[kind]._default_manager.get(pk=pk))
        else:
            model = {model.table(): model for model in tables()}[kind]
            seals.accept(model._base_manager.get(pk=pk))
        ChangedRecord.objects.filter(name=name).delete()
        trail.record("kms:AcceptRecord", name, actor=actor, reason=reason)


def tables() -> list[type[SealedRow]]:
    """The tables whose rows are sealed."""
    return [model for model in apps.get_models() if issubclass(model, SealedRow)]


_SETS: dict[str, type[Principal | User | Group | Secret]] = {
    "rights": Principal,
    "ways-in": User,
    "group": Group,
    "tags": Secret,
}


def _broken_sets() -> Iterator[Broken]:
    for principal in Principal.objects.order_by("name"):
        if not seal_sets.rights_hold(principal.pk):
            yield Broken(
                f"rights:{principal.pk}",
                f"The groups or policies of {principal} were changed outside Keyturn.",
            )
    for user in User.objects.order_by("username"):
        if not seal_sets.ways_in_hold(user.pk):
            yield Broken(
                f"ways-in:{user.pk}",
                f"The second factors or identities of {user} were changed outside Keyturn.",
            )
    for group in Group.objects.order_by("name"):
        if not seal_sets.group_holds(group.pk):
            yield Broken(
                f"group:{group.pk}", f"The group {group} or its policies were changed outside Keyturn."
            )
    for secret in Secret.objects.prefetch_related("tags").order_by("pk").iterator(chunk_size=CHUNK):
        if not seal_sets.tags_hold(secret, {tag.key: tag.value for tag in secret.tags.all()}):
            yield Broken(f"tags:{secret.pk}", f"The tags of {secret} were changed outside Keyturn.")


def _related(model: type[SealedRow]) -> list[str]:
    return [column.partition(".")[0] for column in model.SEALED if "." in column]


def _words(row: SealedRow) -> str:
    return f"{row._meta.verbose_name} {row}"
