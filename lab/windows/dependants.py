"""What a script reaches of services, scheduled tasks and application pools of one simulated host.

Modelled from Microsoft's documents: the methods of Win32_Service and their return codes, the scripting
objects of the Task Scheduler, Microsoft.Web.Administration. A password is given to a method or a property
here, so it appears in no event.
"""

from __future__ import annotations

from typing import Any, Final

from lab.windows import hosts
from lab.windows.hosts import Dependant, WindowsHost
from lab.windows.values import VOID, Failure, Plain, Thing, Unsupported

_COM: Final = "System.Runtime.InteropServices.COMException"
_TASK_LOGONS: Final = {
    1: "Password",
    2: "S4U",
    3: "Interactive",
    5: "ServiceAccount",
    6: "InteractiveOrPassword",
}
#: Of Win32_Service: success, access denied, dependent services running, not possible in this state, service
#: not active, already running, logon failed.
_DONE, _DENIED, _NEEDED, _CANNOT, _INACTIVE, _RUNNING, _LOGON = 0, 2, 3, 5, 6, 10, 15
_UPDATES, _RUNS, _READY = 4, 4, 3
_NO_SUCH_FILE: Final = 0x80070002


def listed(task: Dependant) -> Plain:
    """A task as `Get-ScheduledTask` lists it."""
    path, _, name = task.name.rpartition("\\")
    principal = Plain(userid=task.account, logontype=_TASK_LOGONS[task.logon])
    return Plain(
        taskname=name,
        taskpath=path + "\\",
        principal=principal,
        state="Running" if task.is_running else "Ready",
    )


class _Owned(Thing):
    """Something on the host, which takes rights to change."""

    def __init__(self, host: WindowsHost, one: Dependant, is_admin: bool) -> None:
        self._host = host
        self._one = one
        self._is_denied = one.is_denied or not is_admin

    def _need_rights(self) -> None:
        if self._is_denied:
            raise Failure("System.UnauthorizedAccessException", hresult=hosts.ACCESS_DENIED)


class Service(_Owned):
    """An instance of Win32_Service."""

    TYPE = "System.Management.ManagementObject"

    def p_name(self) -> str:
        return self._one.name

    def p_startname(self) -> str:
        return self._one.account

    def p_state(self) -> str:
        if self._one.is_running:
            return "Stop Pending" if self._one.hangs and self._one.stops else "Running"
        return "Stopped"

    def m_change(self, *given: Any) -> Plain:
        if len(given) != 11 or given[6] != self._one.account or any(given[:6]) or any(given[8:]):
            raise Unsupported("Change of anything but a password")
        if self._is_denied:
            return Plain(returnvalue=_DENIED)
        self._one.password = given[7]
        return Plain(returnvalue=_DONE)

    def m_stopservice(self) -> Plain:
        if self._is_denied:
            return Plain(returnvalue=_DENIED)
        if self._one.is_needed:
            return Plain(returnvalue=_NEEDED)
        if not self._one.is_running:
            return Plain(returnvalue=_INACTIVE)
        if self._one.hangs and self._one.stops:
            return Plain(returnvalue=_CANNOT)
        self._host.stop(self._one)
        if self._one.hangs:
            self._one.stops += 1
        return Plain(returnvalue=_DONE)

    def m_startservice(self) -> Plain:
        if self._is_denied:
            return Plain(returnvalue=_DENIED)
        if self._one.is_running:
            return Plain(returnvalue=_RUNNING)
        return Plain(returnvalue=_DONE if self._host.start(self._one) else _LOGON)


class Scheduler(Thing):
    """The object Schedule.Service."""

    TYPE = "ITaskService"

    def __init__(self, host: WindowsHost, is_admin: bool) -> None:
        self._host = host
        self._is_admin = is_admin

    def m_connect(self) -> Any:
        return VOID

    def m_getfolder(self, path: str) -> _Folder:
        if path != "\\":
            raise Unsupported(path)
        return _Folder(self._host, self._is_admin)


class _Folder(Thing):
    TYPE = "ITaskFolder"

    def __init__(self, host: WindowsHost, is_admin: bool) -> None:
        self._host = host
        self._is_admin = is_admin

    def m_gettask(self, path: str) -> _Task:
        for one in self._host.dependants:
            if one.kind == "task" and one.name.lower() == path.lower():
                return _Task(self._host, one, self._is_admin)
        raise Failure(_COM, hresult=_NO_SUCH_FILE)

    def m_registertaskdefinition(self, path: str, definition: Any, *given: Any) -> _Task:
        flags, user, password, logon, rights = given
        task = self.m_gettask(path)
        if (flags, user, logon, rights) != (_UPDATES, task.one.account, task.one.logon, None):
            raise Unsupported("RegisterTaskDefinition of anything but a password")
        task.give(password)
        return task


class _Task(_Owned):
    TYPE = "IRegisteredTask"

    @property
    def one(self) -> Dependant:
        return self._one

    def give(self, password: str) -> None:
        """Keep this password, which the Task Scheduler tries at once."""
        self._need_rights()
        owner = self._host.account_of(self._one.account)
        if owner is not None and self._host.log_on(self._one.account, owner.password == password):
            raise Failure(_COM, hresult=0x8007052E)
        self._one.password = password

    def p_definition(self) -> Plain:
        return Plain(principal=Plain(userid=self._one.account, logontype=self._one.logon))

    def p_state(self) -> int:
        return _RUNS if self._one.is_running else _READY

    def m_stop(self, _flags: int) -> Any:
        self._need_rights()
        self._host.stop(self._one)
        return VOID

    def m_run(self, _parameters: None) -> Any:
        self._need_rights()
        if not self._host.start(self._one):
            raise Failure(_COM, hresult=0x8007052E)
        return Plain()


class ServerManager(Thing):
    """The configuration of IIS; what is changed counts once it is committed."""

    TYPE = "Microsoft.Web.Administration.ServerManager"

    def __init__(self, host: WindowsHost, is_admin: bool) -> None:
        self._host = host
        self._is_admin = is_admin
        self.changed: list[tuple[Dependant, str]] = []

    def p_applicationpools(self) -> list[_Pool]:
        return [
            _Pool(self._host, one, self._is_admin, self)
            for one in self._host.dependants
            if one.kind == "pool"
        ]

    def m_commitchanges(self) -> Any:
        for one, password in self.changed:
            if one.is_denied or not self._is_admin:
                raise Failure("System.UnauthorizedAccessException", hresult=hosts.ACCESS_DENIED)
            one.password = password
        self.changed.clear()
        return VOID


class _Pool(_Owned):
    TYPE = "Microsoft.Web.Administration.ApplicationPool"

    def __init__(self, host: WindowsHost, one: Dependant, is_admin: bool, manager: ServerManager) -> None:
        super().__init__(host, one, is_admin)
        self._manager = manager

    def p_name(self) -> str:
        return self._one.name

    def p_state(self) -> str:
        return "Started" if self._one.is_running else "Stopped"

    def p_processmodel(self) -> _ProcessModel:
        return _ProcessModel(self._one, self._manager)

    def m_stop(self) -> str:
        self._need_rights()
        self._host.stop(self._one)
        return self.p_state()

    def m_start(self) -> str:
        self._need_rights()
        # IIS starts a pool whatever its password, and ends it at the first request.
        self._host.start(self._one)
        return self.p_state()


class _ProcessModel(Thing):
    TYPE = "Microsoft.Web.Administration.ApplicationPoolProcessModel"

    def __init__(self, one: Dependant, manager: ServerManager) -> None:
        self._one = one
        self._manager = manager

    def p_identitytype(self) -> str:
        return self._one.identity

    def p_username(self) -> str:
        return self._one.account

    def s_password(self, value: str) -> None:
        self._manager.changed.append((self._one, value))
