"""The forms of the instances screens: filters, register, edit, attach a credential, approve host keys."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Sequence
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError
from django.core.validators import RegexValidator
from django.db.models import QuerySet

from console.forms import filters
from console.forms.filters import Several
from rotation import accounts, wires
from rotation.inventory import identities
from rotation.models import HostKey, Instance, ManagedAccount, ManagementCredential
from secrets_app.models import Region, Secret

#: RFC 1123 labels, and the underscore that some private zones use.
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}\Z)[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
    r"(\.[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?)*\Z"
)
RETIRED: Final = "retired"  # a choice of the filter beside the states; no other shows these
_ONE_LINE = RegexValidator(r"^[^\x00-\x1f\x7f]+\Z", "A name is one line without control characters.")
_PLAIN: Final = {"autocomplete": "off", "spellcheck": "false"}


class CredentialField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A management credential, by its name and account."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} ({obj.username}, {obj.system})"


class RegionField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A region, by its name and code."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{obj.name} ({obj.code})"


class Address(forms.Form):
    """The name of an instance, and its address and port."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        validators=[_ONE_LINE],
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs=_PLAIN),
    )
    address = forms.CharField(
        label="Address",
        max_length=255,
        help_text="A host name or an IP address, without a port.",
        error_messages={"required": "Enter a host name or an IP address."},
        widget=forms.TextInput(attrs={**_PLAIN, "autocapitalize": "none", "class": "input-mono"}),
    )
    port = forms.IntegerField(
        label="Port",
        min_value=1,
        max_value=65535,
        error_messages={
            "required": "Enter the port.",
            "invalid": "A port is a number from 1 to 65535.",
            "min_value": "A port is a number from 1 to 65535.",
            "max_value": "A port is a number from 1 to 65535.",
        },
    )

    def clean_address(self) -> str:
        """One spelling for one address, so that the same instance is not registered twice."""
        typed = str(self.cleaned_data["address"]).removeprefix("[").removesuffix("]")
        try:
            return str(ipaddress.ip_address(typed))
        except ValueError:
            pass
        # A last label of digits alone is an IP address that went wrong, never a name.
        if not _HOST_NAME.match(typed) or typed.rpartition(".")[2].isdigit():
            raise ValidationError(
                "Enter a host name such as web-1.example.com, or an IP address; no https:// and no port."
            )
        return typed.lower()


class _Certificate(forms.Textarea):
    """A text area that never shows a private key that was pasted by mistake."""

    def format_value(self, value: Any) -> str | None:
        return None if "PRIVATE KEY" in str(value) else super().format_value(value)


class Trust(forms.Form):
    """How Keyturn connects to an instance, where its system leaves a choice, and whom it trusts there."""

    transport = forms.ChoiceField(
        label="Connection",
        choices=lambda: [(way.name, way.label) for way in wires.transports(Instance.OS.WINDOWS)],
        initial="https",
        widget=forms.RadioSelect,
        required=False,
        error_messages={"invalid_choice": wires.NO_SUCH_TRANSPORT},
    )
    authority = forms.CharField(
        label="Certificate of the authority",
        required=False,
        max_length=16_384,
        help_text="In PEM form: of the authority that signs the certificates of WinRM, and no private key.",
        widget=_Certificate(attrs={**_PLAIN, "rows": 6, "class": "textarea input-mono"}),
        error_messages={"max_length": "That is too long for one certificate."},
    )

    def settle(self, os: str, *, has_authority: bool = False) -> None:
        """Check what was chosen for this system; an authority that is trusted already need not be given."""
        way = self.chosen_transport(os)
        text = str(self.cleaned_data.get("authority", ""))
        if way is None or not way.by_authority or "authority" in self.errors or (has_authority and not text):
            self.cleaned_data["authority"] = ""
        elif not text:
            self.add_error("authority", "Paste the certificate of the authority.")
        else:
            try:
                identities.read_authority(way.wire.name, text)
            except identities.BadAuthority as error:
                self.add_error("authority", str(error))

    def chosen_transport(self, os: str) -> wires.Transport | None:
        """What was chosen, or is usual; None for a system that leaves no choice."""
        ways = wires.transports(os)
        name = self.cleaned_data.get("transport")
        return next((way for way in ways if way.name == name), next(iter(ways), None))


def _usual_ports() -> str:
    return ", ".join(f"{wire.ports[0]} for {wire.offer}" for wire in wires.TABLE.values())


class Register(Address, Trust):
    """An instance to register: first which system it has, then where it is."""

    system = forms.ChoiceField(
        label="System",
        choices=wires.offers,
        initial=wires.USUAL.name,
        widget=forms.RadioSelect,
        required=False,
        error_messages={"invalid_choice": "Choose a system from the list."},
    )
    region = RegionField(
        label="Region",
        queryset=Region.objects.none(),
        empty_label=None,
        error_messages={"required": "Choose a region.", "invalid_choice": "Choose a region from the list."},
    )
    credential = CredentialField(
        label="Management credential",
        queryset=ManagementCredential.objects.none(),
        required=False,
        empty_label="None for now",
        error_messages={"invalid_choice": "Choose a management credential from the list."},
    )

    def __init__(
        self,
        *args: Any,
        here: Region | None,
        regions: Iterable[Region],
        credentials: QuerySet[ManagementCredential],
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "register_%s"
        self.order_fields(["system"])
        self.fields["port"].required = False
        self.fields["port"].help_text = f"Empty for the usual one: {_usual_ports()}."
        self.here = here
        if here:
            del self.fields["region"]  # the URL says it
        else:
            listed = Region.objects.filter(pk__in=[region.pk for region in regions])
            self.fields["region"].queryset = listed  # type: ignore[attr-defined]
        self.fields["credential"].queryset = credentials  # type: ignore[attr-defined]

    def clean_system(self) -> str:
        return str(self.cleaned_data["system"] or wires.USUAL.name)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        wire = wires.TABLE.get(cleaned.get("system", ""))
        if wire:
            self.settle(wire.os)
            way = self.chosen_transport(wire.os)
            wire = way.wire if way else wire
        if wire and "port" in cleaned and cleaned["port"] is None:
            cleaned["port"] = wire.ports[0]
        if wire and (theirs := _usual_elsewhere(wire, cleaned.get("port"))):
            self.add_error(
                "port",
                f"{theirs.label} listens on {cleaned['port']}. {wire.label} is usually on {wire.ports[0]}; "
                f"for {theirs.label}, choose {theirs.offer}.",
            )
        return cleaned

    @property
    def chosen_wire(self) -> wires.Wire:
        wire = wires.of(self.cleaned_data["system"])
        way = self.chosen_transport(wire.os)
        return way.wire if way else wire

    @property
    def chosen_region(self) -> Region:
        chosen: Region = self.here or self.cleaned_data["region"]
        return chosen


def _usual_elsewhere(wire: wires.Wire, port: int | None) -> wires.Wire | None:
    """The wire that listens there, where it is another one."""
    others = (other for other in wires.TABLE.values() if port in other.ports)
    return None if port in wire.ports else next(others, None)


class Edit(Address, Trust):
    """A change of a registered instance, based on what was shown at `revision`."""

    revision = forms.IntegerField(widget=forms.HiddenInput)

    def __init__(self, *args: Any, instance: Instance, has_authority: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "edit_%s"
        self.has_authority = has_authority
        self.os = instance.os
        now = wires.transport(instance.os, instance.wire, by_authority=has_authority)
        self.leaves_choice = now is not None
        if now is None:  # its system leaves no choice, or it is reached in a way that is not offered for it
            del self.fields["transport"], self.fields["authority"]
        else:
            self.fields["transport"].initial = now.name
            if has_authority:
                self.fields["authority"].help_text = "Empty for the one that is trusted now."

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if self.leaves_choice:
            cleaned["transport"] = cleaned.get("transport") or self.fields["transport"].initial
            self.settle(self.os, has_authority=self.has_authority)
        return cleaned

    @property
    def place(self) -> dict[str, Any]:
        """What is saved with the instance."""
        return {name: self.cleaned_data[name] for name in ("name", "address", "port", "revision")}


class Attach(forms.Form):
    """The account that Keyturn works as on an instance."""

    credential = CredentialField(
        label="Management credential",
        queryset=ManagementCredential.objects.none(),
        empty_label="Choose one",
        error_messages={
            "required": "Choose a management credential.",
            "invalid_choice": "Choose a management credential from the list.",
        },
    )

    def __init__(self, *args: Any, credentials: QuerySet[ManagementCredential], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "attach_%s"
        self.fields["credential"].queryset = credentials  # type: ignore[attr-defined]


class SecretField(forms.ModelChoiceField):  # type: ignore[type-arg]
    """A secret, by its account, kind and name."""

    def label_from_instance(self, obj: Any) -> str:
        return f"{accounts.needed(obj).username}: {obj.name} ({obj.get_kind_display().lower()})"


class OwnLogin(forms.Form):
    """A secret of an account on an instance, that Keyturn logs in there with."""

    secret = SecretField(
        label="Secret",
        queryset=Secret.objects.none(),
        empty_label="Choose one",
        help_text="Only secrets that are in sync on this instance.",
        error_messages={
            "required": "Choose a secret.",
            "invalid_choice": "Choose a secret from the list: it must manage an account on this "
            "instance and be in sync.",
        },
    )
    sudo = forms.ChoiceField(
        label="Sudo",
        choices=ManagementCredential.Sudo.choices,
        initial=ManagementCredential.Sudo.PASSWORDLESS,
        help_text="How this account becomes root. With password: uses the password in the secret.",
    )

    def __init__(self, *args: Any, secrets: QuerySet[Secret], instance: Instance, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "own_login_%s"
        self.instance = instance
        if not instance.elevates:
            del self.fields["sudo"]
        self.fields["secret"].queryset = (  # type: ignore[attr-defined]
            secrets.filter(deletion_planned_at__isnull=True)
            .filter(managed__instance=instance, managed__credential=ManagedAccount.Credential.IN_SYNC)
            .select_related("managed")
            .order_by("managed__username", "name")
        )

    @property
    def chosen_sudo(self) -> str:
        """How the account becomes root; where there is no sudo, it is an administrator itself."""
        return str(self.cleaned_data.get("sudo", ManagementCredential.Sudo.NONE))


class Approve(forms.Form):
    """The host keys that are trusted from now on, among those that the newest scan was shown."""

    fingerprints = forms.MultipleChoiceField(widget=forms.CheckboxSelectMultiple)

    def __init__(self, *args: Any, keys: Sequence[HostKey], shown: wires.Shown, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.auto_id = "approve_%s"
        field = self.fields["fingerprints"]
        field.label = f"Trust exactly these {shown.many}"
        field.error_messages |= {
            "required": f"Select the {shown.many} whose fingerprints you have compared.",
            "invalid_choice": f"The {shown.many} of the instance have changed. Compare those shown here.",
        }
        self.fields["fingerprints"].choices = [  # type: ignore[attr-defined]
            (key.fingerprint, f"{key.algorithm} {key.fingerprint}") for key in keys
        ]


class Filters(filters.Filters):
    """What the list of instances is narrowed to."""

    q = forms.CharField(required=False, max_length=200)
    status = Several("Status", "All statuses", [*Instance.State.choices, (RETIRED, "Retired")])

    @property
    def shows_retired(self) -> bool:
        """Whether the instances are listed too of which only the history is left."""
        return RETIRED in self.chosen().get("status", [])
