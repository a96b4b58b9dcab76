"""Forms of notifications: a subscription, and the mails of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django import forms

from console.models import Subscription
from console.notices import kinds
from console.notices.subscriptions import Wanted
from secrets_app.crypto.plaintext import Plaintext

_PLAIN = {"autocomplete": "off", "spellcheck": "false"}
_EVENTS = [(kind.name, f"{kind.label} ({kind.severity.label})") for kind in kinds.ALL]
_AT_ONCE = "0"
_DIGESTS = [
    (_AT_ONCE, "At once"),
    ("15", "Digest every 15 minutes"),
    ("60", "Hourly digest"),
    ("1440", "Daily digest"),
]


class _Told(forms.Form):
    """Which events, and whether each of them or together."""

    events = forms.MultipleChoiceField(
        label="Events",
        choices=_EVENTS,
        widget=forms.CheckboxSelectMultiple,
        error_messages={"required": "Choose at least one event."},
    )
    digest = forms.ChoiceField(
        label="When",
        required=False,
        choices=_DIGESTS,
        initial=_AT_ONCE,
        help_text="A digest has all events since the last one in one message.",
    )

    @property
    def interval(self) -> timedelta | None:
        minutes = int(self.cleaned_data["digest"] or _AT_ONCE)
        return timedelta(minutes=minutes) if minutes else None


class Own(_Told):
    """The mails of one's own; none where no event is chosen."""

    def __init__(self, data: Mapping[str, Any] | None = None, *, had: Subscription | None = None) -> None:
        initial = {"events": had.events, "digest": minutes_of(had)} if had else {"events": []}
        super().__init__(data, auto_id="own_%s", initial=initial)
        self.fields["events"].required = False


class Subscribe(_Told):
    """A subscription; with `had`, a change of it."""

    name = forms.CharField(
        label="Name",
        max_length=80,
        error_messages={"required": "Enter a name."},
        widget=forms.TextInput(attrs=_PLAIN),
    )
    channel = forms.ChoiceField(
        label="Send by",
        choices=Subscription.Channel.choices,
        initial=Subscription.Channel.WEBHOOK,
        help_text="E-mail goes to your own address.",
    )
    shape = forms.ChoiceField(label="Format", choices=Subscription.Shape.choices)
    url = forms.CharField(
        label="Webhook address",
        required=False,
        max_length=2000,
        error_messages={"required": "Enter the address that the receiver gave you."},
        widget=forms.TextInput(attrs={"class": "input-mono", "inputmode": "url", **_PLAIN}),
    )
    robot = forms.CharField(
        label="DingTalk robot secret",
        required=False,
        max_length=200,
        help_text="If the robot's security setting is a signature: the text that begins with SEC.",
        widget=forms.PasswordInput(attrs={"class": "input-mono", **_PLAIN}),
    )
    regions = forms.MultipleChoiceField(
        label="Regions",
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="None chosen: all regions, and events that belong to none.",
    )
    name_pattern = forms.CharField(
        label="Name pattern",
        required=False,
        max_length=512,
        help_text="Of the secret or instance, with * and ?: acs/ecs/db-*",
        widget=forms.TextInput(attrs={"class": "input-mono", **_PLAIN}),
    )
    tag_key = forms.CharField(
        label="Tag key", required=False, max_length=128, widget=forms.TextInput(attrs=_PLAIN)
    )
    tag_value = forms.CharField(
        label="Tag value",
        required=False,
        max_length=256,
        help_text="Empty: any value of this key.",
        widget=forms.TextInput(attrs=_PLAIN),
    )
    is_enabled = forms.BooleanField(label="Enabled", required=False, initial=True)
    new_key = forms.BooleanField(
        label="Make a new signing key",
        required=False,
        help_text="The old key stops signing at once. The new one is shown after you save.",
    )
    revision = forms.IntegerField(required=False, widget=forms.HiddenInput)

    def __init__(
        self,
        data: Mapping[str, Any] | None = None,
        *,
        regions: list[tuple[str, str]],
        had: Subscription | None = None,
    ) -> None:
        super().__init__(data, auto_id="subscription_%s", initial=_shown(had))
        self.had = had
        self.fields["regions"].choices = regions  # type: ignore[attr-defined]
        if had is not None:
            del self.fields["channel"]
            if had.channel == Subscription.Channel.MAIL:
                for name in ("shape", "url", "robot", "new_key"):
                    del self.fields[name]
            else:
                self.fields["url"].help_text = f"Empty: the present address at {had.host} stays."
                self.fields["robot"].help_text = "Empty: the present one stays, if the address does."
        else:
            del self.fields["new_key"]
            is_webhook = (data or {}).get("channel") != Subscription.Channel.MAIL
            self.fields["shape"].required = self.fields["url"].required = is_webhook
            self.fields["url"].help_text = "An https address. It is stored encrypted and not shown again."

    @property
    def channel_name(self) -> str:
        return self.had.channel if self.had else str(self.cleaned_data["channel"])

    @property
    def address(self) -> Plaintext:
        return Plaintext(str(self.cleaned_data.get("url", "")).strip())

    @property
    def robot_secret(self) -> Plaintext:
        return Plaintext(str(self.cleaned_data.get("robot", "")))

    def wanted(self) -> Wanted:
        given = self.cleaned_data
        return Wanted(
            given["name"],
            self.channel_name,
            tuple(given["events"]),
            shape=given.get("shape", ""),
            regions=tuple(given["regions"]),
            tag_key=given["tag_key"],
            tag_value=given["tag_value"],
            name_pattern=given["name_pattern"],
            digest=self.interval,
            is_enabled=given["is_enabled"],
        )


def minutes_of(had: Subscription) -> str:
    return str(int(had.digest.total_seconds() // 60)) if had.digest else _AT_ONCE


def _shown(had: Subscription | None) -> dict[str, Any]:
    if had is None:
        return {"events": list(kinds.DEFAULT)}
    names = ("name", "shape", "events", "regions", "name_pattern", "tag_key", "tag_value", "is_enabled")
    return {name: getattr(had, name) for name in names} | {
        "digest": minutes_of(had),
        "revision": had.revision,
    }
