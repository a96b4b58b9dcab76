"""What may change of a secret: description, tags, password policy, options, reminder."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms

from console.forms.secrets import options, password_policy
from console.forms.secrets.generic import Reminder
from console.forms.secrets.options import Options
from console.forms.secrets.password_policy import PasswordPolicy
from console.forms.secrets.tags import DescriptionAndTags, write_tags
from rotation import accounts, wires
from secrets_app.crypto import passwords
from secrets_app.kinds import table as kinds
from secrets_app.models import Secret
from secrets_app.secrets import lifecycle


class Edit(PasswordPolicy, Options, DescriptionAndTags, Reminder):
    """A change of a secret, made on what was shown at `revision`."""

    revision = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        secret: Secret,
        has_options: bool = True,
        has_tags: bool = True,
    ) -> None:
        self.tag_limit = lifecycle.tag_limit(secret)
        super().__init__(data, auto_id="edit_%s", initial=_shown(secret))
        account = accounts.of(secret)
        self.wire = account.instance.wire if account else ""
        self.kept = passwords.policy(secret.password_policy)
        kind = kinds.of(secret)
        self.has_policy = kind is not None and kind.HAS_POLICY
        if not self.has_policy:
            for name in (*password_policy.FIELDS, "proves_old_refused"):
                del self.fields[name]
        self.has_reminder = secret.is_generic
        if not self.has_reminder:
            del self.fields["reminder"]
        self.has_options = has_options
        if not has_options:  # another permission than the rest of the form
            for name in options.FIELDS:
                self.fields.pop(name, None)
        self.has_sessions = has_options and account is not None and wires.ends_sessions(self.wire)
        if not self.has_sessions:
            self.fields.pop("ends_sessions", None)
        self.has_tags = has_tags
        if not has_tags:
            del self.fields["tags"]

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.has_policy:
            self.check_policy(self.wire)
        return cleaned

    def policy(self) -> passwords.Policy:
        """What later rotations make."""
        return self.typed_policy() if self.has_policy else self.kept


def _shown(secret: Secret) -> dict[str, object]:
    rules, account = passwords.policy(secret.password_policy), accounts.of(secret)
    return {
        "description": secret.description,
        "tags": write_tags({tag.key: tag.value for tag in secret.tags.all()}),
        "length": rules.length,
        "sets": list(rules.sets),
        "excluded": rules.excluded,
        "revision": secret.revision,
        "reminder": secret.reminder_days or None,
        **(options.shown(account) if account else {}),
    }
