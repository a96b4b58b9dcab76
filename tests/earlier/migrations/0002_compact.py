"""The column that the earlier version has not."""

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("console", "0001_initial")]
    operations = [
        migrations.AddField("listpreference", "is_compact", models.BooleanField(default=False)),
    ]
