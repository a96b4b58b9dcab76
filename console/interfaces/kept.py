"""A value that a program asks for again, decided by what `remembered` has kept since it was asked for before.

The way is that of an interface's door, step by step, and its only result is a value. Whatever else would
follow, from a signature that does not fit to a secret that is not known here, is `NotAsKept`: then nothing
was recorded and nothing opened, and the door begins again at the database, which alone refuses.
"""

from __future__ import annotations

from collections.abc import Callable

from console.interfaces import new_regions
from secrets_app import origin
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.errors import DomainError
from secrets_app.models import Region, Secret, SecretVersion
from secrets_app.people import access_keys
from secrets_app.policy import deciding, decisions, holdings
from secrets_app.secrets import reads, remembered, versions


class NotAsKept(DomainError):
    """Ask the database: something is not kept here, or has changed, or is to be refused."""

    code = "not_as_kept"

    def __init__(self, *, is_counted: bool = False) -> None:
        super().__init__()
        #: The call is counted in its second: the door does not count it again.
        self.is_counted = is_counted


class Found:
    """What a call by one access key may find here; the secret that it did find."""

    def __init__(self, key: remembered.KeptKey) -> None:
        regions = remembered.regions()
        if regions is None or access_keys.why_unusable(key.row, origin.current().address):
            raise NotAsKept
        self.key, self.actor, self._regions = key, key.row.principal, regions
        self.secret: remembered.KeptSecret | None = None
        holdings.suppose(self.actor, key.sheet, regions.rows)

    @staticmethod
    def known(region: Region | None) -> Region:
        """Return this region, if it is one of those that are kept."""
        if region is None or new_regions.is_new(region):
            raise NotAsKept
        return region

    def named(self, region: Region, name: str) -> Secret | None:
        """As an interface finds the secret of this name."""
        self.secret = remembered.secret(region, name)
        return self.secret.row if self.secret is not None else None

    def checked(self) -> remembered.KeptSecret:
        """The secret, if its value can be read, and the decision looks at nothing but what is kept."""
        kept = self.secret
        if kept is None or not kept.row.is_enabled:
            raise NotAsKept
        if deciding.looks_at_rows(self.actor, Action.GET_SECRET_VALUE, kept.row):
            raise NotAsKept
        return kept

    def fetch(
        self, kept: remembered.KeptSecret, version: SecretVersion, claim: reads.Claim | None = None
    ) -> versions.Value:
        """Return the value of this version of `checked`, once its read is recorded.

        Raises `NotAsKept`, and as `versions.fetch` what was recorded, or is of the installation as a whole.
        """
        proofs = (*self.key.proofs, *kept.regions.proofs, *kept.proofs)
        try:
            return versions.fetch_as_kept(version, actor=self.actor, proofs=proofs, claim=claim)
        except reads.Changed as changed:
            remembered.forget(changed.untrue, of=self.key)
            raise NotAsKept(is_counted=True) from None
        # Of these nothing was recorded.
        except (versions.NoValue, decisions.NotAllowed, reads.Repeated):
            raise NotAsKept(is_counted=True) from None


def signed(key_id: str, require: Callable[[Plaintext], None]) -> remembered.KeptKey:
    """The access key of this id, if `require` takes its secret. Raises `NotAsKept`."""
    key = remembered.key(key_id)
    if key is None:
        raise NotAsKept
    try:
        opened = access_keys.opened_as_read(key.row)
        if opened is None:
            raise NotAsKept
        require(opened.secret)
    except DomainError:
        raise NotAsKept from None
    return key
