"""The lists whose columns and length a user chooses, and the columns of each that can be left out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True)
class Column:
    """One column: its name, as templates and rows of preferences have it, and its heading."""

    name: str
    label: str
    is_usual: bool = True  # shown to a user who has chosen nothing


#: By the name of a list.
LISTS: Final[Mapping[str, tuple[Column, ...]]] = MappingProxyType(
    {
        "secrets": (
            Column("account", "Managed User"),
            Column("kind", "Kind"),
            Column("credential", "Credential"),
            Column("automatic", "Automatic rotation"),
            Column("rotation", "Next rotation"),
            Column("status", "Status"),
            Column("created", "Created", is_usual=False),
            Column("tags", "Tags", is_usual=False),
        ),
        "instances": (
            Column("region", "Region"),
            Column("os", "OS"),
            Column("address", "Address"),
            Column("connection", "Connection"),
            Column("host_key", "Host key"),
            Column("secrets", "Secrets"),
            Column("contact", "Last contact"),
            Column("status", "Status"),
        ),
        "rotations": (
            Column("instance", "Instance"),
            Column("kind", "Kind"),
            Column("trigger", "Trigger"),
            Column("by", "Requested by"),
            Column("outcome", "Outcome"),
            Column("duration", "Duration"),
            Column("attempts", "Attempts"),
        ),
        "audit": (
            Column("actor", "Actor"),
            Column("resource", "Resource"),
            Column("outcome", "Outcome"),
            Column("address", "Address"),
        ),
        "credentials": (
            Column("account", "Account"),
            Column("sudo", "Sudo"),
            Column("login", "Login"),
            Column("instances", "Instances"),
            Column("created", "Created"),
        ),
        "users": (
            Column("display", "Display name"),
            Column("groups", "Groups"),
            Column("signed_in", "Last sign-in"),
            Column("state", "Status"),
        ),
        "applications": (
            Column("groups", "Groups"),
            Column("keys", "Access keys"),
            Column("used", "Last used"),
            Column("state", "Status"),
            Column("created", "Created"),
        ),
        "access_keys": (
            Column("state", "Status"),
            Column("expires", "Expires"),
            Column("networks", "Address ranges"),
            Column("used", "Last used"),
            Column("created", "Created"),
        ),
        "groups": (Column("members", "Members"), Column("policies", "Policies")),
        "policies": (
            Column("kind", "Kind"),
            Column("description", "Description"),
            Column("holders", "Attached to"),
            Column("changed", "Changed"),
        ),
        "keys": (
            Column("state", "State"),
            Column("primary", "Primary version"),
            Column("secrets", "Used by secrets"),
            Column("next", "Next rotation"),
            Column("created", "Created"),
        ),
    }
)
