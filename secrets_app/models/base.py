"""What every table begins with."""

from __future__ import annotations

import uuid

from django.db import models
from django.db.models.functions import Now


class Identified(models.Model):
    """A row whose name in ciphertexts, URLs and messages is a UUID that never changes."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    created_at = models.DateTimeField(db_default=Now(), editable=False)

    class Meta:
        abstract = True
