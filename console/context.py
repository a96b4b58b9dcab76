"""What every page shows around its content: navigation, regions, theme, version.

Computed when the template asks for it, so a fragment costs no query.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache

from django.conf import settings
from django.http import HttpRequest
from django.urls import NoReverseMatch, reverse

from console import http
from console.access import resources
from console.help import places
from console.openid_settings import Provider
from console.process import away
from console.sessions import expiry
from console.version import product_version
from rotation.bulk import bulk_actions
from rotation.models import BulkAction
from secrets_app.integrity import restores
from secrets_app.models import DatabaseRestore, User
from secrets_app.people import users
from secrets_app.policy.decisions import Action

THEME_COOKIE = "keyturn_theme"


@dataclass(frozen=True)
class Section:
    """A working part of the console; `name` is what permissions know it by."""

    name: str
    label: str
    url_name: str
    icon: str


SECTIONS = (
    Section("overview", "Overview", "overview", "layout-dashboard"),
    Section("secrets", "Secrets", "secrets", "key-round"),
    Section("instances", "Instances", "instances", "server"),
    Section("rotations", "Rotations", "rotations", "rotate-cw"),
    Section("access", "Access", "access", "users"),
    Section("keys", "Keys", "keys", "lock-keyhole"),
    Section("audit", "Audit", "audit", "scroll-text"),
    Section("settings", "Settings", "settings", "settings"),
)


@dataclass(frozen=True)
class NavEntry:
    """One line of the left navigation."""

    label: str
    icon: str
    url: str
    is_active: bool


#: The parts of Access: label, URL name, and what opens it.
ACCESS_TABS = (
    ("Users", "users", (Action.LIST_USERS,)),
    ("Invitations", "invitations", (Action.LIST_USERS,)),
    ("Applications", "applications", (Action.LIST_USERS,)),
    ("Access keys", "access_keys", (Action.LIST_ACCESS_KEYS,)),
    ("Groups", "groups", (Action.LIST_GROUPS,)),
    ("Policies", "policies", (Action.LIST_POLICIES,)),
    ("Simulator", "simulator", (Action.SIMULATE_POLICY,)),
    ("Access review", "access_review", (Action.LIST_USERS, Action.LIST_POLICIES, Action.LIST_SECRETS)),
)

#: The parts of Settings, in the same way.
SETTINGS_TABS = (
    ("Regions", "settings_regions", (Action.DESCRIBE_SETTINGS,)),
    ("Mail", "settings_mail", (Action.DESCRIBE_SETTINGS,)),
    ("Notifications", "settings_notifications", (Action.DESCRIBE_SETTINGS, Action.MANAGE_NOTIFICATIONS)),
    ("Sessions and reveal", "settings_rules", (Action.DESCRIBE_SETTINGS,)),
    ("Health", "settings_health", (Action.DESCRIBE_SETTINGS,)),
    ("About", "settings_about", (Action.DESCRIBE_SETTINGS,)),
)


@dataclass(frozen=True)
class RegionChoice:
    """One line of the region selector."""

    code: str
    name: str
    url: str
    is_current: bool


@dataclass(frozen=True)
class Bell:
    """A user's latest background actions, and how many of them run or have a result not yet looked at."""

    actions: tuple[tuple[BulkAction, int], ...]  # and how many percent of its rows are done
    running: int = 0
    unseen: int = 0


BELL_ROWS = 5


class Layout:
    """The frame of one page."""

    def __init__(self, request: HttpRequest) -> None:
        self.request = request

    @cached_property
    def region(self) -> str:
        """The code in the URL; `all` where the URL names none."""
        match = self.request.resolver_match
        return str(match.kwargs.get("region", resources.ALL_REGIONS)) if match else resources.ALL_REGIONS

    @cached_property
    def nav(self) -> list[NavEntry]:
        """The sections that exist and that this person's permissions open."""
        if not isinstance(self.request.user, User) or self.request.user.must_change_password:
            return []
        sections = [(section, section_url(section.url_name, self.region)) for section in SECTIONS]
        return [
            NavEntry(section.label, section.icon, url, self._is_within(section, url))
            for section, url in sections
            if url and resources.may_open(self.request, section.name)
        ]

    @cached_property
    def access_tabs(self) -> list[NavEntry]:
        """The parts of Access that this person's permissions open."""
        return self._tabs(ACCESS_TABS)

    @cached_property
    def settings_tabs(self) -> list[NavEntry]:
        """The parts of Settings that this person's permissions open."""
        return self._tabs(SETTINGS_TABS)

    def _tabs(self, parts: Iterable[tuple[str, str, tuple[Action, ...]]]) -> list[NavEntry]:
        return [
            NavEntry(label, "", reverse(name), self._is_active(reverse(name)))
            for label, name, actions in parts
            if all(resources.may(self.request, action) for action in actions)
        ]

    @cached_property
    def regions(self) -> list[RegionChoice]:
        rows = [(row.code, row.name) for row in resources.shown_regions(self.request)]
        return [
            RegionChoice(code, name, self._in_region(code), code == self.region)
            for code, name in [(resources.ALL_REGIONS, "All regions"), *rows]
        ]

    @property
    def region_name(self) -> str:
        return next((choice.name for choice in self.regions if choice.is_current), self.region)

    @property
    def search_url(self) -> str | None:
        """Search looks in all regions, so that a thing elsewhere is never out of sight."""
        return reverse("search") if self.nav else None

    @cached_property
    def restore(self) -> DatabaseRestore | None:
        """An older database that was restored and still asks something of a person; for those signed in."""
        return restores.unsettled() if isinstance(self.request.user, User) else None

    @property
    def may_see_restore(self) -> bool:
        """Whether this person may open the page about it."""
        return resources.may(self.request, Action.LIST_EVENTS)

    @cached_property
    def away(self) -> tuple[away.Away, ...]:
        """The parts of the installation that are away; for those signed in."""
        return away.parts() if isinstance(self.request.user, User) else ()

    @cached_property
    def bell(self) -> Bell | None:
        """What runs in the background for this person; for those who have a navigation."""
        if not isinstance(self.request.user, User) or not self.nav:
            return None
        actor = self.request.user.principal
        newest = bulk_actions.newest(actor)
        running = [row for row in newest if row.ended_at is None]
        far = bulk_actions.how_far(actor, running) if running else {}
        percents = {pk: done * 100 // total for pk, (done, total) in far.items()}
        shown = tuple((row, percents.get(row.pk, 0)) for row in newest[:BELL_ROWS])
        unseen = sum(row.ended_at is not None and row.seen_at is None for row in newest)
        moving = [row for row in running if row.paused_at is None]
        return Bell(shown, len(moving), unseen)

    @property
    def help_url(self) -> str:
        """The help on this screen; empty for users who can open nothing yet, and in the help."""
        user, match = self.request.user, self.request.resolver_match
        if not isinstance(user, User) or user.must_change_password:
            return ""
        route = (match.view_name if match else "") or ""
        return "" if route in {"help", "help_chapter"} else places.url_of(route)

    @property
    def has_own_keys(self) -> bool:
        """Whether this user may see the access keys that they have themselves."""
        user = self.request.user
        if not isinstance(user, User) or not self.nav:
            return False
        return resources.may(self.request, Action.LIST_ACCESS_KEYS, users.named(user))

    @property
    def theme(self) -> str:
        """The chosen theme; empty where the system's counts. A cookie may hold anything: two words pass."""
        chosen = self.request.COOKIES.get(THEME_COOKIE, "")
        return chosen if chosen in {"light", "dark"} else ""

    @property
    def time_zone(self) -> str:
        """The zone this person chose; empty where the browser's counts."""
        zone = getattr(self.request.user, "time_zone", "")
        return "" if zone == "UTC" else str(zone)

    @property
    def session_seconds(self) -> int:
        return expiry.seconds_left(self.request.session)

    @property
    def keeps_cookies(self) -> bool:
        return http.keeps_cookies(self.request)

    @property
    def provider(self) -> Provider | None:
        """The identity provider; None where there is none."""
        provider: Provider | None = settings.OIDC
        return provider

    @property
    def version(self) -> str:
        return product_version()

    def _is_within(self, section: Section, url: str) -> bool:
        """Management credentials are a part of Instances, with an address of their own."""
        belongs = section.name == "instances" and self._is_active(reverse("credentials"))
        return belongs or self._is_active(url)

    def _is_active(self, url: str) -> bool:
        path = self.request.path
        return path == url or (url != "/" and path.startswith(url))

    def _in_region(self, code: str) -> str:
        """This list in another region; from a page of one thing, the list that it belongs to."""
        match = self.request.resolver_match
        if match and set(match.kwargs) == {"region"}:
            return reverse(match.view_name, kwargs={"region": code})
        current = next((entry.label for entry in self.nav if entry.is_active), "Secrets")
        name = next(section.url_name for section in SECTIONS if section.label == current)
        return section_url(name, code, needs_region=True) or section_url("secrets", code) or "/"


def layout(request: HttpRequest) -> dict[str, object]:
    """Context processor: one name, so that no view's variable can shadow a part of the frame."""
    return {"layout": Layout(request)}


@lru_cache(maxsize=512)
def section_url(name: str, region: str, *, needs_region: bool = False) -> str | None:
    """The section's address in this region, or without one where it has none; None where it is not routed."""
    try:
        return reverse(name, kwargs={"region": region})
    except NoReverseMatch:
        if needs_region:
            return None
    try:
        return reverse(name)
    except NoReverseMatch:
        return None
