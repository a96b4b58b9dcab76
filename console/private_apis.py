"""What allauth and lucide do not promise to keep and Keyturn needs even so: all of it, and nowhere else.

Each is pinned to its minor version. Read this list before one of them is raised.
"""

from allauth.account.internal.flows.login import record_authentication
from allauth.core.internal import ratelimit
from allauth.mfa.recovery_codes.internal.flows import generate_recovery_codes
from allauth.mfa.totp.internal import auth as totp
from lucide import _render_icon as render_icon

__all__ = ["generate_recovery_codes", "ratelimit", "record_authentication", "render_icon", "totp"]
