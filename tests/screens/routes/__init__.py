"""Every route of the console with a real call: what AUD-01 and AUD-12 walk over.

`CHANGES` are those that change something or hand out a value, `READS` those that only look, `SIGN_IN` those
that are for nobody who is signed in.
"""

from __future__ import annotations

from tests.screens.routes import access, keys, looks, own, secrets, settings, strangers

CHANGES = {**secrets.CHANGES, **keys.CHANGES, **access.CHANGES, **settings.CHANGES, **own.CHANGES}
READS = looks.READS
SIGN_IN = strangers.SIGN_IN
