"""What allauth and lucide do not promise to keep and Keyturn needs even so: all of it, and nowhere else.

Each is pinned to its minor version. Read this list before one of them is raised.
"""

import io
from functools import cache
from importlib import resources
from xml.etree import ElementTree
from zipfile import ZipFile

from allauth.account.internal.flows.login import record_authentication
from allauth.core.internal import ratelimit
from allauth.mfa.recovery_codes.internal.flows import generate_recovery_codes
from allauth.mfa.totp.internal import auth as totp

__all__ = ["drawn", "generate_recovery_codes", "ratelimit", "record_authentication", "totp"]


def drawn(name: str) -> str:
    """Return the shapes of Lucide's icon of this name, in a square of 24. Raises `KeyError` if there is none.

    Lucide's own function opens the archive for each icon, and reads 1,700 names to find one.
    """
    text = _archive().read(f"{name}.svg").decode().replace(' xmlns="http://www.w3.org/2000/svg"', "", 1)
    icon = ElementTree.fromstring(text)  # noqa: S314 - of the package, not of a user
    shapes = (ElementTree.tostring(shape, encoding="unicode").strip() for shape in icon)
    return "".join(shapes).replace(" />", "/>")


@cache
def _archive() -> ZipFile:
    # In memory: a file that processes share after a fork has one position for all of them.
    return ZipFile(io.BytesIO((resources.files("lucide") / "lucide.zip").read_bytes()))
