import django.core.validators
import django.db.models.functions.datetime
import django.db.models.functions.text
import uuid
from django.db import migrations, models

from secrets_app.first_migrations import FirstMigration


class Migration(FirstMigration):

    initial = True

    dependencies = [
        ('auth', '0012_alter_user_first_name_max_length'),
    ]

    operations = [
        migrations.CreateModel(
            name='User',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('password', models.CharField(max_length=128, verbose_name='password')),
                ('last_login', models.DateTimeField(blank=True, null=True, verbose_name='last login')),
                ('is_superuser', models.BooleanField(default=False, help_text='Designates that this user has all permissions without explicitly assigning them.', verbose_name='superuser status')),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('username', models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9._@-]+\\Z', 'Use letters, digits and . _ @ -')])),
                ('display_name', models.CharField(blank=True, max_length=80)),
                ('email', models.EmailField(blank=True, max_length=254)),
                ('time_zone', models.CharField(default='UTC', max_length=64)),
                ('is_active', models.BooleanField(default=True)),
                ('must_change_password', models.BooleanField(default=False)),
                ('ways_in_seal', models.CharField(default='', editable=False, max_length=64)),
                ('user_permissions', models.ManyToManyField(blank=True, help_text='Specific permissions for this user.', related_name='user_set', related_query_name='user', to='auth.permission', verbose_name='user permissions')),
            ],
            options={
                'constraints': [models.UniqueConstraint(django.db.models.functions.text.Lower('username'), name='one_user_per_name', violation_error_message='This name is taken.'), models.CheckConstraint(condition=models.Q(('is_superuser', False)), name='nobody_is_superuser')],
            },
        ),
    ]
