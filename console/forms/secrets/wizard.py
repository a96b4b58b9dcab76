"""The form of the Create Secret wizard: three steps, validated one after the other or all at once."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from django import forms
from django.conf import settings
from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet

from console.forms.secrets import options, password_policy
from console.forms.secrets.dependants import NamesField
from console.forms.secrets.generic import SelectType
from console.forms.secrets.key_pair import KeyAlgorithmField, PrivateKeyField
from console.forms.secrets.options import Options
from console.forms.secrets.password_policy import PasswordPolicy
from console.forms.secrets.schedule import RECURRENCE_FIELDS, RecurrenceForm
from console.forms.secrets.secrets import ValueField
from console.forms.secrets.tags import DescriptionAndTags
from rotation.managed import creation, rotation_options
from rotation.models import Instance
from secrets_app import keyring, names
from secrets_app.crypto import passwords
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.kinds import table as kinds
from secrets_app.models import (
    ECS_PREFIX,
    NAME_CHARACTERS,
    NAME_LENGTH,
    NAME_PATTERN,
    Key,
    Principal,
    Region,
    Secret,
)
from secrets_app.policy import decisions
from secrets_app.policy.decisions import Action

#: The fields of each step of the wizard; a step is right when these and those before it are.
STEPS: Final = (
    (
        "type",
        "name",
        "instance",
        "username",
        "kind",
        "value",
        "private_key",
        "generate",
        "key_algorithm",
        *password_policy.FIELDS,
        "key",
        "description",
        "tags",
        *options.FIELDS,
        "as_own_login",
    ),
    ("rotation", *RECURRENCE_FIELDS, "rotate_now"),
    (),
)


class KindField(forms.ChoiceField):
    """What kind of credential it is; of those that the instance takes, where one is chosen."""

    def __init__(self) -> None:
        super().__init__(
            label="Initial secret value",
            choices=Secret.Kind.choices,
            initial=Secret.Kind.PASSWORD,
            widget=forms.RadioSelect,
        )

    def offer(self, kinds: Sequence[str]) -> None:
        """Offer these alone. Whatever else is sent is refused by its own sentence, not as unknown."""
        self.choices = [choice for choice in Secret.Kind.choices if choice[0] in kinds]


class OfferedKinds(forms.Form):
    """The field by itself, for an instance that was chosen after the page was shown."""

    has_steps = True  # it takes the place of the wizard's own
    kind = KindField()

    def __init__(self, kinds: Sequence[str], *, chosen: str) -> None:
        super().__init__(auto_id="wizard_%s", initial={"kind": chosen if chosen in kinds else kinds[0]})
        field: KindField = self.fields["kind"]  # type: ignore[assignment]
        field.offer(kinds)


class CreateSecret(PasswordPolicy, Options, DescriptionAndTags, RecurrenceForm):
    """The three steps of the wizard, as one form."""

    has_steps = True  # so each field keeps a place for an error that an answer brings

    type = SelectType(Secret.Type.ECS)
    name = forms.CharField(
        label="Secret name",
        max_length=NAME_LENGTH,
        help_text=f"1 to {NAME_LENGTH - len(ECS_PREFIX)} letters, digits and / _ + = . @ - after the prefix.",
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs={"autocomplete": "off", "spellcheck": "false"}),
    )
    instance = forms.CharField(
        label="Managed instance",
        max_length=100,
        error_messages={"required": "Choose an instance."},
        widget=forms.TextInput(
            attrs={"autocomplete": "off", "spellcheck": "false", "list": "wizard-instances"}
        ),
    )
    username = forms.CharField(
        label="Managed User",
        max_length=64,
        help_text="An OS user that exists on the instance, for example root or Administrator.",
        error_messages={"required": "Enter the OS user whose password or key this secret keeps."},
        widget=forms.TextInput(
            attrs={
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "list": "wizard-accounts",
            }
        ),
    )
    kind = KindField()
    value = ValueField(
        label="Current value",
        required=False,
        help_text="The current credential of the account. It is verified on the instance after OK; a refused "
        "value does not prevent creation, and the first rotation corrects it.",
    )
    private_key = PrivateKeyField(
        label="Private key",
        required=False,
        help_text="The whole file, in OpenSSH or PEM form and without a passphrase. The public key is "
        "derived from it, and verified on the instance after OK.",
    )
    key_algorithm = KeyAlgorithmField()
    generate = forms.BooleanField(label="Generate one for me at the first rotation", required=False)
    dependants = NamesField(required=False)
    as_own_login = forms.BooleanField(
        label="Keyturn logs in to this instance with this secret",
        required=False,
        help_text="Instead of the management credential that other instances share. The account must be "
        "allowed to change other accounts' passwords, and its current value must be entered.",
    )
    key = forms.ModelChoiceField(
        label="Encryption key",
        queryset=Key.objects.none(),
        to_field_name="alias",
        required=False,
        empty_label=None,
        initial=keyring.DEFAULT_ALIAS,
        help_text="Encrypts every value of this secret. Disabled keys are not listed.",
        error_messages={
            "invalid_choice": "Choose a key from the list: this one is disabled or no longer exists."
        },
    )
    rotation = forms.ChoiceField(
        label="Automatic rotation",
        choices=[("on", "Turn on automatic rotation"), ("off", "Turn off automatic rotation")],
        initial="on",
        widget=forms.RadioSelect,
    )
    rotate_now = forms.BooleanField(
        label="Rotate once, right after creation",
        required=False,
        help_text="The account gets a new password or key as soon as a worker is free.",
    )

    def __init__(
        self,
        data: Mapping[str, Any] | None,
        *,
        region: Region,
        instances: QuerySet[Instance],
        keys: QuerySet[Key],
        actor: Principal,
    ) -> None:
        super().__init__(data, auto_id="wizard_%s")
        self.actor = actor
        #: What was refused and not only wrong, for the audit trail.
        self.refusals: list[decisions.NotAllowed] = []
        self.fields["key"].queryset = keys  # type: ignore[attr-defined]
        self.region = region
        self.instances = instances

    def offer(self, kinds: Sequence[str]) -> None:
        """Show these kinds alone; what was sent is judged already."""
        field: KindField = self.fields["kind"]  # type: ignore[assignment]
        field.offer(kinds)

    def errors_until(self, step: int) -> dict[str, Any]:
        """The errors of this step and those before it; a later step is not filled in yet."""
        reached = {name for fields in STEPS[:step] for name in fields}
        return {name: errors for name, errors in self.errors.items() if name in reached}

    def step_of_first_error(self) -> int:
        """The first step that holds an error, counted from 1; the last one where none belongs to a field."""
        for number, fields in enumerate(STEPS, 1):
            if any(name in self.errors for name in fields):
                return number
        return len(STEPS)

    def clean_name(self) -> str:
        name = creation.full_name(self.cleaned_data["name"])
        if len(name) > NAME_LENGTH or not re.match(NAME_PATTERN, name) or name == ECS_PREFIX:
            said = names.stranger(name, NAME_CHARACTERS)
            rule = f"After {ECS_PREFIX} a name has 1 to {NAME_LENGTH - len(ECS_PREFIX)} letters, digits and"
            raise ValidationError(f"{said} {rule} / _ + = . @ - characters.".strip())
        return name

    def name_taken(self, name: str, *, is_pending: bool = False) -> str:
        """Why this name cannot be used, and what to do."""
        until = " by a secret that is pending deletion" if is_pending else ""
        return f"{name} is in use in {self.region.name}{until}. Choose another name."

    def clean_instance(self) -> Instance:
        """An instance by its name or id; that it is one of this region is checked with the account."""
        wanted = self.cleaned_data["instance"]
        matching = self.instances.filter(Q(name=wanted) | Q(instance_id=wanted))
        chosen = matching.filter(region=self.region).first() or matching.first()
        if chosen is None:
            raise ValidationError(self._no_such_instance())
        return chosen

    def _no_such_instance(self) -> str:
        if not self.instances.filter(region=self.region).exists():
            return f"No instance is registered in {self.region.name}. Register one first."
        return f"No instance of {self.region.name} has this name. Choose one from the list, or register it."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        self._clean_place()
        self._clean_account()
        self._clean_value()
        self._clean_policy()
        self._clean_schedule()
        return cleaned

    def _clean_place(self) -> None:
        """The name, once it is known with which tags: who may not create there is not told what is there."""
        name = self.cleaned_data.get("name")
        if not name or "tags" not in self.cleaned_data:
            return
        try:
            instance = self.cleaned_data.get("instance")
            os = instance.os if instance else ""
            creation.require_creation(self.region, name, self.cleaned_data["tags"], os=os, actor=self.actor)
        except decisions.NotAllowed as error:
            is_of_tags = error.action == Action.TAG_RESOURCE
            sentence = "create a secret with these tags" if is_of_tags else "create a secret of this name"
            self._refuse("tags" if is_of_tags else "name", f"You are not allowed to {sentence}.", error)
            return
        taken = Secret.objects.kept().filter(region=self.region, name=name).select_related("account").first()
        if taken:
            is_known = decisions.allows(self.actor, Action.DESCRIBE_SECRET, taken)
            is_pending = is_known and taken.is_pending_deletion
            self.add_error("name", self.name_taken(name, is_pending=is_pending))

    def _refuse(self, field: str, sentence: str, error: decisions.NotAllowed) -> None:
        self.refusals.append(error)
        self.add_error(field, sentence)

    def _clean_account(self) -> None:
        instance, username = self.cleaned_data.get("instance"), self.cleaned_data.get("username")
        if not instance or not username:
            return
        try:
            kind = self.cleaned_data.get("kind", "")
            creation.check_account(self.region, instance, username, kind, actor=self.actor)
        except creation.KindUnsupported as error:
            self.add_error("kind", str(error))
        except creation.RegionMismatch as error:
            self.add_error("instance", str(error))
        except (creation.BadUsername, creation.AccountTaken) as error:
            self.add_error("username", str(error))
        except decisions.NotAllowed as error:
            sentence = f"You are not allowed to manage {username} on {instance.name}."
            self._refuse("username", sentence, error)
        else:
            self._clean_sessions(instance)
            self._clean_login(instance, username)

    def _clean_sessions(self, instance: Instance) -> None:
        try:
            if self.cleaned_data.get("ends_sessions"):
                rotation_options.require_sessions(instance)
        except rotation_options.CannotEndSessions as error:
            self.add_error("ends_sessions", str(error))

    def _clean_login(self, instance: Instance, username: str) -> None:
        """Refuse the account of a shared credential, unless it is to become the instance's own login."""
        if self.cleaned_data.get("as_own_login"):
            if self.cleaned_data.get("generate"):
                self.add_error("as_own_login", "Enter the current value: Keyturn logs in with it.")
            return
        try:
            creation.refuse_shared(instance, username, actor=self.actor)
        except creation.SharedAccount as error:
            way_out = f"For the former, select “{self.fields['as_own_login'].label}” under Options."
            self.add_error("username", f"{error} {way_out}")

    def _clean_value(self) -> None:
        name, other, what = "value", "private_key", "Enter the password"
        if self.is_key_pair:
            name, other, what = "private_key", "value", "Paste the private key"
        # The other field is out of sight; what a browser filled in there was not meant.
        self.errors.pop(other, None)
        self.cleaned_data[other] = None
        if name in self.errors:
            return
        typed, wants_generated = self.cleaned_data.get(name) is not None, self.cleaned_data.get("generate")
        if typed and wants_generated:
            self.add_error(name, "Either enter the current value or have one generated, not both.")
        elif not typed and not wants_generated:
            self.add_error(
                name, f"{what} that works now, or tick that one is generated at the first rotation."
            )

    def _clean_policy(self) -> None:
        if not self.is_key_pair:
            chosen = self.cleaned_data.get("instance")
            self.check_policy(chosen.wire if chosen else "")
            return
        # Out of sight for a key pair.
        for name in password_policy.FIELDS:
            self.errors.pop(name, None)
        self.cleaned_data["proves_old_refused"] = False

    def _clean_schedule(self) -> None:
        if not self.is_on:
            self.without_errors_out_of_sight()

    def policy(self) -> passwords.Policy:
        """What later rotations make of a password."""
        return passwords.Policy() if self.is_key_pair else self.typed_policy()

    @property
    def is_key_pair(self) -> bool:
        kind = kinds.TABLE.get(self.cleaned_data.get("kind", ""))
        return kind is not None and kind.HAS_PUBLIC_HALF

    @property
    def initial_value(self) -> Plaintext | None:
        """The value that works now, where one was entered."""
        value: Plaintext | None = self.cleaned_data["private_key" if self.is_key_pair else "value"]
        return value

    @property
    def policy_breach(self) -> str:
        """What of the policy the entered password breaks. It is what the instance has: that is no error."""
        value = self.initial_value
        return self.policy().broken_by(value) if value and not self.is_key_pair else ""

    @property
    def chosen_algorithm(self) -> str:
        return str(self.cleaned_data.get("key_algorithm") or settings.KEY_ALGORITHM)

    @property
    def is_on(self) -> bool:
        return bool(self.cleaned_data.get("rotation") == "on")
