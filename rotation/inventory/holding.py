"""Hold an instance or a management credential until a transaction ends, so that it does not go meanwhile.

Code that makes a row which refers to one holds it first; so does the code that lets it go. Of the two, the
second waits, and then sees what the first did. A foreign key alone would not do that: PostgreSQL looks at it
only at the end of the transaction, and the row of what was retired stays.
"""

from __future__ import annotations

from rotation import wires
from rotation.models import Instance, ManagementCredential
from secrets_app.errors import DomainError


class Retired(DomainError):
    """This instance is retired; the message says since when. Only its history is left."""

    code = "instance_retired"


class CredentialDeleted(DomainError):
    """This management credential is deleted; the message says since when."""

    code = "credential_deleted"


class OtherSystem(DomainError, ValueError):
    """This management credential is for instances of another system; the message names both."""

    code = "credential_of_other_system"


def require_system(row: ManagementCredential, wire: str) -> None:
    """Return if instances over this wire can be managed with a credential. Raises `OtherSystem`."""
    if wires.logs_in_as(row.wire) != wires.logs_in_as(wire):
        raise OtherSystem(
            f"The management credential {row.name} is for {row.system}; the instance is "
            f"{wires.of(wire).offer}. Choose one for that system."
        )


def instance(row: Instance) -> Instance:
    """Return the instance as it is now, unchanged by others until the transaction ends. Raises `Retired`."""
    # As a worker holds it, and weaker than for a row that goes: another run that names it need not wait.
    held = Instance.objects.select_for_update(of=("self",), no_key=True).get(pk=row.pk)
    require_registered(held)
    return held


def require_registered(row: Instance) -> None:
    """Return if the instance is not retired. Raises `Retired`."""
    if row.retired_at:
        by = f" by {row.retired_by.name}" if row.retired_by else ""
        raise Retired(
            f"{row.name} was retired on {row.retired_at:%Y-%m-%d %H:%M} UTC{by}. Only its history is left."
        )


def credential(row: ManagementCredential) -> ManagementCredential:
    """Return the credential as it is now, unchanged by others until the transaction ends.

    Raises `CredentialDeleted`.
    """
    held = ManagementCredential.objects.select_for_update(of=("self",), no_key=True).get(pk=row.pk)
    require_kept(held)
    return held


def require_kept(row: ManagementCredential) -> None:
    """Return if the credential is not deleted. Raises `CredentialDeleted`."""
    if row.deleted_at:
        by = f" by {row.deleted_by.name}" if row.deleted_by else ""
        raise CredentialDeleted(
            f"{row.name} was deleted on {row.deleted_at:%Y-%m-%d %H:%M} UTC{by}. Its values are destroyed."
        )
