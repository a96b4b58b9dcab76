"""What happens: instances and how to reach them, the accounts managed there, schedules, runs, bulk actions.

A run's row is the job itself; the queue only wakes a worker. Every table names its writer in
its docstring.
"""

from rotation.models.bulk import BulkAction, BulkItem
from rotation.models.dependants import Dependant, DependantQuerySet
from rotation.models.instances import HostKey, HostKeyQuerySet, Instance, ManagedAccount, ManagementCredential
from rotation.models.runs import Run, RunQuerySet, Step
from rotation.models.schedules import GRACE, PERIOD_LIMITS, Chore, Schedule

__all__ = [
    "GRACE",
    "PERIOD_LIMITS",
    "BulkAction",
    "BulkItem",
    "Chore",
    "Dependant",
    "DependantQuerySet",
    "HostKey",
    "HostKeyQuerySet",
    "Instance",
    "ManagedAccount",
    "ManagementCredential",
    "Run",
    "RunQuerySet",
    "Schedule",
    "Step",
]
