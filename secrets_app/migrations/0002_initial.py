import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
import django.db.models.functions.text
import django.utils.timezone
import uuid
from django.conf import settings
from django.db import migrations, models

from secrets_app.first_migrations import FirstMigration


class Migration(FirstMigration):

    initial = True

    # After the libraries', which ask for the user alone: each of theirs would render all of these again.
    dependencies = [
        ('account', '0009_emailaddress_unique_primary_email'),
        ('auth', '0012_alter_user_first_name_max_length'),
        ('guardian', '0003_remove_groupobjectpermission_guardian_gr_content_ae6aec_idx_and_more'),
        ('mfa', '0003_authenticator_type_uniq'),
        ('secrets_app', '0001_initial'),
        ('socialaccount', '0006_alter_socialaccount_extra_data'),
        ('usersessions', '0001_initial'),
    ]

    operations = [
        migrations.CreateModel(
            name='Account',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('number', models.CharField(max_length=16, unique=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Region',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='regions', to='secrets_app.account')),
                ('code', models.SlugField(max_length=40)),
                ('name', models.CharField(max_length=80)),
                ('retired_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['code'],
                'constraints': [models.UniqueConstraint(fields=('account', 'code'), name='one_region_per_code')],
            },
        ),
        migrations.CreateModel(
            name='Principal',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('kind', models.CharField(choices=[('user', 'User'), ('machine', 'Machine'), ('system', 'Keyturn')], max_length=8)),
                ('name', models.CharField(max_length=80)),
                ('user', models.OneToOneField(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='principal', to=settings.AUTH_USER_MODEL)),
                ('is_active', models.BooleanField(default=True)),
                ('rights_seal', models.CharField(default='', editable=False, max_length=64)),
                ('groups', models.ManyToManyField(blank=True, related_name='members', to='auth.group')),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('kind', 'system')), fields=('kind',), name='one_system_principal'), models.UniqueConstraint(django.db.models.functions.text.Lower('name'), condition=models.Q(('kind', 'system'), _negated=True), name='one_principal_per_name')],
            },
        ),
        migrations.CreateModel(
            name='Invitation',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('user', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to=settings.AUTH_USER_MODEL)),
                ('username', models.CharField(max_length=64, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9._@-]+\\Z', 'Use letters, digits and . _ @ -'), django.core.validators.MaxLengthValidator(64)])),
                ('display_name', models.CharField(blank=True, max_length=80)),
                ('groups', models.JSONField(default=list)),
                ('token_hash', models.CharField(max_length=64, unique=True)),
                ('invited_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('expires_at', models.DateTimeField()),
                ('used_at', models.DateTimeField(blank=True, null=True)),
                ('revoked_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='AuditEvent',
            fields=[
                ('sequence', models.BigIntegerField(primary_key=True, serialize=False)),
                ('at', models.DateTimeField(db_index=True, editable=False)),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('actor_name', models.CharField(max_length=80)),
                ('action', models.CharField(max_length=64)),
                ('resource', models.CharField(db_index=True, max_length=700)),
                ('resource_id', models.UUIDField(null=True)),
                ('version_id', models.CharField(blank=True, max_length=64)),
                ('outcome', models.CharField(choices=[('succeeded', 'Succeeded'), ('denied', 'Denied'), ('failed', 'Failed')], max_length=12)),
                ('decision', models.CharField(blank=True, max_length=300)),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('details', models.JSONField(default=dict)),
                ('request_id', models.CharField(blank=True, max_length=64)),
                ('session', models.CharField(blank=True, max_length=64)),
                ('address', models.GenericIPAddressField(null=True)),
                ('value_mark', models.CharField(blank=True, max_length=64)),
                ('mac', models.CharField(max_length=64)),
            ],
            options={
                'ordering': ['-sequence'],
                'indexes': [models.Index(fields=['resource_id', '-sequence'], name='event_of_resource'), models.Index(fields=['actor_name', '-sequence'], name='event_by_actor'), models.Index(fields=['action', '-sequence'], name='event_of_action'), models.Index(fields=['outcome', '-sequence'], name='event_with_outcome'), models.Index(fields=['address', '-sequence'], name='event_from_address'), models.Index(fields=['sequence', 'at'], name='event_by_time'), models.Index(condition=models.Q(('value_mark', ''), _negated=True), fields=['value_mark'], name='event_of_value')],
            },
        ),
        migrations.CreateModel(
            name='AuditHead',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('sequence', models.BigIntegerField(default=0)),
                ('mac', models.CharField(default='0000000000000000000000000000000000000000000000000000000000000000', max_length=64)),
                ('key_name', models.CharField(max_length=32)),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(('id', 1)), name='one_head')],
            },
        ),
        migrations.CreateModel(
            name='AuditCheckpoint',
            fields=[
                ('sequence', models.BigIntegerField(primary_key=True, serialize=False)),
                ('mac', models.CharField(max_length=64)),
                ('at', models.DateTimeField()),
                ('previous', models.CharField(max_length=64)),
                ('signature', models.CharField(max_length=128)),
            ],
            options={
                'ordering': ['sequence'],
            },
        ),
        migrations.CreateModel(
            name='DatabaseRestore',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('exported_to', models.BigIntegerField()),
                ('exported_at', models.DateTimeField()),
                ('found_to', models.BigIntegerField()),
                ('acknowledged_at', models.DateTimeField(blank=True, null=True)),
                ('acknowledged_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('reason', models.CharField(blank=True, max_length=500)),
                ('verify_asked_at', models.DateTimeField(blank=True, null=True)),
                ('verify_asked_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('verified_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['created_at'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('acknowledged_at__isnull', True)), fields=('exported_to',), name='one_open_restore')],
            },
        ),
        migrations.CreateModel(
            name='Refusals',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('actor', models.ForeignKey(null=True, on_delete=django.db.models.deletion.CASCADE, related_name='+', to='secrets_app.principal')),
                ('action', models.CharField(max_length=64)),
                ('resource', models.CharField(max_length=700)),
                ('resource_id', models.UUIDField(null=True)),
                ('address', models.GenericIPAddressField(null=True)),
                ('name', models.CharField(max_length=64, unique=True)),
                ('since', models.DateTimeField(db_index=True)),
                ('count', models.PositiveIntegerField(default=0)),
                ('because', models.CharField(blank=True, max_length=300)),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Key',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='keys', to='secrets_app.account')),
                ('alias', models.CharField(max_length=80)),
                ('description', models.CharField(blank=True, max_length=500)),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
            ],
            options={
                'ordering': ['alias'],
                'constraints': [models.UniqueConstraint(fields=('account', 'alias'), name='one_key_per_alias')],
            },
        ),
        migrations.CreateModel(
            name='KeyVersion',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('key', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='secrets_app.key')),
                ('number', models.PositiveIntegerField(default=1)),
                ('state', models.CharField(choices=[('primary', 'Primary'), ('enabled', 'Enabled'), ('disabled', 'Disabled'), ('scheduled', 'Scheduled for destruction'), ('destroyed', 'Destroyed')], max_length=12)),
                ('wrapped', models.BinaryField(max_length=1024, null=True)),
                ('destruction_due_at', models.DateTimeField(blank=True, null=True)),
                ('destroyed_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-number'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'primary')), fields=('key',), name='one_primary_version_per_key'), models.UniqueConstraint(fields=('key', 'number'), name='one_key_version_per_number'), models.CheckConstraint(condition=models.Q(models.Q(('state', 'destroyed'), ('wrapped', None)), models.Q(models.Q(('state', 'destroyed'), _negated=True), ('wrapped__isnull', False)), _connector='OR'), name='destroyed_has_no_material'), models.CheckConstraint(condition=models.Q(models.Q(('destruction_due_at__isnull', False), ('state', 'scheduled')), models.Q(models.Q(('state', 'scheduled'), _negated=True), ('destruction_due_at', None)), _connector='OR'), name='scheduled_has_a_date')],
            },
        ),
        migrations.CreateModel(
            name='RootKeyMove',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('source', models.CharField(max_length=500)),
                ('target', models.CharField(max_length=500)),
                ('state', models.CharField(choices=[('running', 'Running'), ('done', 'Done')], default='running', max_length=8)),
                ('total', models.PositiveIntegerField()),
                ('done', models.PositiveIntegerField(default=0)),
                ('requested_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('ended_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('state',), name='one_root_key_move_at_a_time')],
            },
        ),
        migrations.CreateModel(
            name='SealedValue',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.account')),
                ('owner_id', models.UUIDField(db_index=True)),
                ('subject_id', models.UUIDField()),
                ('field', models.CharField(max_length=32)),
                ('key_version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='sealed_values', to='secrets_app.keyversion')),
                ('wrapped_key', models.BinaryField(max_length=256)),
                ('ciphertext', models.BinaryField()),
            ],
            options={
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='Rewrap',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('source', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='rewraps', to='secrets_app.key')),
                ('target', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.key')),
                ('state', models.CharField(choices=[('running', 'Running'), ('done', 'Done')], default='running', max_length=8)),
                ('total', models.PositiveIntegerField()),
                ('done', models.PositiveIntegerField(default=0)),
                ('damaged', models.JSONField(default=list)),
                ('sentence', models.CharField(blank=True, max_length=500)),
                ('requested_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('carried_until', models.DateTimeField(null=True)),
                ('ended_at', models.DateTimeField(null=True)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(condition=models.Q(('state', 'running')), fields=('source',), name='one_rewrap_of_a_key_at_a_time')],
            },
        ),
        migrations.CreateModel(
            name='Secret',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='secrets', to='secrets_app.account')),
                ('region', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='secrets', to='secrets_app.region')),
                ('name', models.CharField(max_length=512)),
                ('type', models.CharField(choices=[('ecs', 'Managed ECS secret'), ('generic', 'Generic secret')], default='ecs', max_length=16)),
                ('kind', models.CharField(blank=True, choices=[('password', 'Password'), ('key_pair', 'Key pair')], max_length=16)),
                ('key', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='secrets', to='secrets_app.key')),
                ('description', models.TextField(blank=True, max_length=4096)),
                ('password_policy', models.JSONField(blank=True, default=dict)),
                ('key_algorithm', models.CharField(blank=True, max_length=16)),
                ('custom_data', models.JSONField(default=dict, editable=False)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('revision', models.PositiveIntegerField(default=1)),
                ('resource_policy', models.TextField(blank=True, editable=False, null=True)),
                ('tags_seal', models.CharField(default='', editable=False, max_length=64)),
                ('changed_at', models.DateTimeField(default=django.utils.timezone.now, editable=False)),
                ('reminder_days', models.PositiveSmallIntegerField(default=0, editable=False)),
                ('reminder_due_at', models.DateTimeField(editable=False, null=True)),
                ('last_read_at', models.DateTimeField(blank=True, null=True)),
                ('last_read_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('deletion_planned_at', models.DateTimeField(blank=True, null=True)),
                ('deletion_due_at', models.DateTimeField(blank=True, null=True)),
                ('deletion_planned_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('deletion_reason', models.CharField(blank=True, max_length=500)),
                ('purged_at', models.DateTimeField(blank=True, null=True)),
                ('purged_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
            ],
            options={
                'ordering': ['name'],
                'permissions': [('kms:DescribeSecret', 'kms:DescribeSecret'), ('kms:RotateSecret', 'kms:RotateSecret'), ('kms:PutSecretValue', 'kms:PutSecretValue'), ('kms:GetSecretValue', 'kms:GetSecretValue'), ('kms:UpdateSecret', 'kms:UpdateSecret'), ('kms:TagResource', 'kms:TagResource'), ('kms:UntagResource', 'kms:UntagResource'), ('kms:UpdateSecretRotationPolicy', 'kms:UpdateSecretRotationPolicy'), ('kms:DeleteSecret', 'kms:DeleteSecret'), ('kms:RestoreSecret', 'kms:RestoreSecret'), ('kms:ResolveRotation', 'kms:ResolveRotation'), ('kms:OverridePreflightCheck', 'kms:OverridePreflightCheck'), ('kms:OverridePasswordPolicy', 'kms:OverridePasswordPolicy'), ('kms:RebindManagedAccount', 'kms:RebindManagedAccount'), ('kms:ListGrants', 'kms:ListGrants'), ('kms:CreateGrant', 'kms:CreateGrant'), ('kms:RevokeGrant', 'kms:RevokeGrant'), ('kms:DescribeRotation', 'kms:DescribeRotation')],
                'default_permissions': (),
                'indexes': [models.Index(fields=['region', 'created_at'], name='secrets_app_region__0f4236_idx'), models.Index(condition=models.Q(('purged_at__isnull', True)), fields=['region', 'id'], name='secret_of_region'), models.Index(condition=models.Q(('purged_at__isnull', True)), fields=['key', 'id'], name='secret_of_key'), models.Index(condition=models.Q(('purged_at__isnull', True)), fields=['deletion_due_at'], name='secret_due'), models.Index(condition=models.Q(('purged_at__isnull', True), ('reminder_due_at__isnull', False)), fields=['reminder_due_at'], name='secret_reminder'), models.Index(models.F('name'), models.F('id'), django.db.models.functions.text.Upper('name'), condition=models.Q(('purged_at__isnull', True)), name='secret_by_name'), models.Index(condition=models.Q(('purged_at__isnull', True)), fields=['created_at', 'id'], name='secret_newest'), models.Index(models.F('name'), models.F('id'), django.db.models.functions.text.Upper('name'), name='secret_by_any_name'), models.Index(condition=models.Q(('created_at__isnull', False), ('purged_at__isnull', True)), fields=['type', 'id'], name='secret_by_type'), models.Index(condition=models.Q(('created_at__isnull', False), ('purged_at__isnull', True)), fields=['kind', 'name', 'id'], name='secret_by_kind'), models.Index(condition=models.Q(('resource_policy__isnull', False)), fields=['id'], name='secret_with_policy'), models.Index(condition=models.Q(('purged_at__isnull', False)), fields=['name', 'id'], name='secret_purged'), models.Index(condition=models.Q(('deletion_planned_at__isnull', False), ('purged_at__isnull', True)), fields=['deletion_planned_at', 'id'], name='secret_by_status')],
                'constraints': [models.UniqueConstraint(condition=models.Q(('purged_at__isnull', True)), fields=('region', 'name'), name='one_secret_per_name', violation_error_message='This name is in use in this region. Choose another one.'), models.CheckConstraint(condition=models.Q(models.Q(('kind', ''), ('type', 'generic')), models.Q(models.Q(('type', 'generic'), _negated=True), models.Q(('kind', ''), _negated=True)), _connector='OR'), name='only_a_generic_secret_has_no_kind')],
            },
        ),
        migrations.CreateModel(
            name='SecretVersion',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('secret', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='versions', to='secrets_app.secret')),
                ('version_id', models.CharField(max_length=64)),
                ('origin', models.CharField(choices=[('initial', 'Entered at creation'), ('generated', 'Generated'), ('custom', 'Entered by hand'), ('earlier', 'An earlier value again')], max_length=12)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('sealed', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.sealedvalue')),
                ('public_key', models.TextField(blank=True)),
                ('value_mark', models.CharField(blank=True, db_index=True, max_length=64)),
                ('policy_breach', models.CharField(blank=True, max_length=500)),
                ('breach_reason', models.CharField(blank=True, max_length=500)),
                ('offered_at', models.DateTimeField(blank=True, null=True)),
                ('verified_at', models.DateTimeField(blank=True, null=True)),
                ('dead_at', models.DateTimeField(blank=True, null=True)),
                ('removed_at', models.DateTimeField(blank=True, null=True)),
                ('refused_at', models.DateTimeField(blank=True, null=True)),
                ('destroyed_at', models.DateTimeField(blank=True, null=True)),
            ],
            options={
                'ordering': ['-created_at'],
                'constraints': [models.UniqueConstraint(fields=('secret', 'version_id'), name='one_version_per_id')],
            },
        ),
        migrations.CreateModel(
            name='Label',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('secret', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='labels', to='secrets_app.secret')),
                ('version', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='labels', to='secrets_app.secretversion')),
                ('role', models.CharField(choices=[('current', 'ACSCurrent'), ('pending', 'ACSPending'), ('previous', 'ACSPrevious'), ('custom', 'Custom')], max_length=8)),
                ('name', models.CharField(blank=True, max_length=256)),
            ],
            options={
                'constraints': [models.UniqueConstraint(condition=models.Q(('role', 'custom'), _negated=True), fields=('secret', 'role'), name='one_version_per_role'), models.UniqueConstraint(condition=models.Q(('role', 'custom')), fields=('secret', 'name'), name='one_version_per_custom_label')],
            },
        ),
        migrations.CreateModel(
            name='Replica',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('state', models.CharField(choices=[('in_sync', 'In sync'), ('failed', 'Failed')], max_length=8)),
                ('message', models.CharField(blank=True, max_length=500)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('key', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.key')),
                ('primary', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='replicas', to='secrets_app.secret')),
                ('region', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.region')),
                ('secret', models.OneToOneField(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='replica_of', to='secrets_app.secret')),
            ],
            options={
                'ordering': ['region__code'],
                'constraints': [models.UniqueConstraint(fields=('primary', 'region'), name='one_replica_in_a_region')],
            },
        ),
        migrations.CreateModel(
            name='PolicyRevision',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('document', models.TextField(blank=True)),
                ('secret', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='policy_revisions', to='secrets_app.secret')),
                ('set_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
            ],
            options={
                'ordering': ['-created_at', '-id'],
            },
        ),
        migrations.CreateModel(
            name='Tag',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('secret', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='tags', to='secrets_app.secret')),
                ('key', models.CharField(max_length=128)),
                ('value', models.CharField(blank=True, max_length=256)),
            ],
            options={
                'ordering': ['key'],
                'indexes': [models.Index(fields=['key', 'value'], name='tag_by_key'), models.Index(fields=['value'], name='tag_by_value')],
                'constraints': [models.UniqueConstraint(fields=('secret', 'key'), name='one_tag_per_key')],
            },
        ),
        migrations.CreateModel(
            name='Policy',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('account', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='policies', to='secrets_app.account')),
                ('name', models.CharField(max_length=128, validators=[django.core.validators.RegexValidator('^[A-Za-z0-9-]+\\Z', 'Use letters, digits and -')])),
                ('kind', models.CharField(choices=[('system', 'System policy'), ('custom', 'Custom policy')], default='custom', max_length=8)),
                ('description', models.CharField(blank=True, max_length=500)),
                ('document', models.TextField()),
                ('revision', models.PositiveIntegerField(default=1)),
                ('changed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('created_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
            ],
            options={
                'ordering': ['kind', 'name'],
                'constraints': [models.UniqueConstraint(fields=('account', 'name'), name='one_policy_per_name', violation_error_message='A policy with this name exists. Choose another name.')],
            },
        ),
        migrations.CreateModel(
            name='Attachment',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('policy', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='attachments', to='secrets_app.policy')),
                ('principal', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='attachments', to='secrets_app.principal')),
                ('group', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.CASCADE, related_name='attachments', to='auth.group')),
                ('attached_by', models.ForeignKey(blank=True, null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
            ],
            options={
                'constraints': [models.CheckConstraint(condition=models.Q(models.Q(('group__isnull', False), ('principal', None)), models.Q(('group', None), ('principal__isnull', False)), _connector='OR'), name='attached_to_one'), models.UniqueConstraint(fields=('policy', 'principal'), name='attached_to_a_principal_once'), models.UniqueConstraint(fields=('policy', 'group'), name='attached_to_a_group_once')],
            },
        ),
        migrations.CreateModel(
            name='GroupSeal',
            fields=[
                ('group', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, primary_key=True, related_name='sealed', serialize=False, to='auth.group')),
                ('seal', models.CharField(max_length=64)),
            ],
        ),
        migrations.CreateModel(
            name='ChangedRecord',
            fields=[
                ('name', models.CharField(max_length=120, primary_key=True, serialize=False)),
                ('sentence', models.CharField(max_length=300)),
                ('noticed_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
            options={
                'ordering': ['noticed_at', 'name'],
            },
        ),
        migrations.CreateModel(
            name='SecretPrincipalGrant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('principal', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='+', to='secrets_app.principal')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='principal_grants', to='secrets_app.secret')),
                ('granted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('granted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('conditions', models.TextField(blank=True, default='')),
            ],
            options={
                'unique_together': {('principal', 'permission', 'content_object')},
            },
        ),
        migrations.CreateModel(
            name='SecretGroupGrant',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('permission', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.permission')),
                ('group', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, to='auth.group')),
                ('content_object', models.ForeignKey(on_delete=django.db.models.deletion.CASCADE, related_name='group_grants', to='secrets_app.secret')),
                ('granted_by', models.ForeignKey(null=True, on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('granted_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('conditions', models.TextField(blank=True, default='')),
            ],
            options={
                'unique_together': {('group', 'permission', 'content_object')},
                'abstract': False,
            },
        ),
        migrations.CreateModel(
            name='AccessKey',
            fields=[
                ('id', models.UUIDField(default=uuid.uuid4, editable=False, primary_key=True, serialize=False)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False)),
                ('seal', models.CharField(default='', editable=False, max_length=64)),
                ('key_id', models.CharField(max_length=20, unique=True)),
                ('slot', models.PositiveSmallIntegerField()),
                ('is_active', models.BooleanField(default=True)),
                ('expires_at', models.DateTimeField(blank=True, null=True)),
                ('networks', models.JSONField(blank=True, default=list)),
                ('last_used_at', models.DateTimeField(blank=True, null=True)),
                ('last_used_from', models.GenericIPAddressField(blank=True, null=True)),
                ('last_used_for', models.CharField(blank=True, max_length=64)),
                ('created_by', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.principal')),
                ('principal', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='access_keys', to='secrets_app.principal')),
                ('sealed', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, related_name='+', to='secrets_app.sealedvalue')),
            ],
            options={
                'ordering': ['principal', 'slot'],
                'constraints': [models.UniqueConstraint(fields=('principal', 'slot'), name='one_access_key_per_slot'), models.CheckConstraint(condition=models.Q(('slot__gte', 1), ('slot__lte', 2)), name='two_access_keys_at_most')],
            },
        ),
    ]
