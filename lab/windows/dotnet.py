"""The commands, types and objects of Windows that a script of Keyturn's reaches, on one simulated host.

Every command's parameters go to the record as module logging would write them (event 4103), so a value that
is given to a command is found there.
"""

from __future__ import annotations

import base64
import binascii
import json
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from lab.windows import dependants, hosts
from lab.windows.hosts import Account, WindowsHost
from lab.windows.powershell import Environment
from lab.windows.values import VOID, Failure, Killed, Plain, Thing, Unsupported, text

_COM: Final = "System.Runtime.InteropServices.COMException"
_EPOCH: Final = datetime(1, 1, 1, tzinfo=UTC)


class Streams(Protocol):
    """The three ends of a process."""

    def read_line(self) -> str | None:
        """The next line of its input; None at the end. Raises `Killed`."""
        ...

    def write(self, line: str) -> None:
        """Take a line of its output."""
        ...

    @property
    def is_killed(self) -> bool:
        """Whether it was ended from outside."""
        ...


class Windows(Environment):
    """One process of `user` on a host."""

    def __init__(self, host: WindowsHost, user: str, streams: Streams) -> None:
        self._host = host
        self._user = user
        self._streams = streams
        self._held: list[Mutex] = []

    def variable(self, name: str) -> Any:
        match name:
            case "executioncontext":
                return Plain(sessionstate=Plain(languagemode=self._host.language_mode))
            case "env:computername":
                return self._host.name
            case "env:windir":
                return "C:\\Windows"
            case "psversiontable":
                return Plain(psversion=Plain(major=5 if self._host.has_local_accounts else 4))
            case "erroractionpreference" | "progresspreference":
                return "Continue"
        return None

    def write(self, line: str) -> None:
        self._streams.write(line)

    def pause(self) -> None:
        if self._streams.is_killed:
            raise Killed

    def end(self) -> None:
        """What the system does when the process is gone: its locks are abandoned."""
        for mutex in self._held:
            mutex.abandon()

    # -- types ------------------------------------------------------------------------------------

    def static(self, type_: str, member: str, arguments: list[Any] | None) -> Any:
        match (type_.lower().removeprefix("system."), member.lower(), arguments):
            case ("diagnostics.stopwatch", "startnew", []):
                return _Stopwatch()
            case ("text.encoding", "utf8", None):
                return _Utf8()
            case ("convert", "frombase64string", [str(coded)]):
                try:
                    return base64.b64decode(coded, validate=True)
                except binascii.Error:
                    raise Failure("System.FormatException") from None
            case ("convert", "frombase64string", [None]):
                raise Failure("System.ArgumentNullException")
            case ("console", "in", None):
                return _In(self._streams)
            case ("console", "out", None):
                return _Out(self._streams)
            case ("microsoft.win32.registry", "localmachine", None):
                return _Key(self._host, "", is_writable=self._is_admin)
            case ("io.file", "exists", [str(path)]) if path.endswith("\\Microsoft.Web.Administration.dll"):
                return self._host.has_iis
            case ("reflection.assembly", "loadfrom", [str()]):
                return VOID
            case ("security.principal.windowsidentity", "getcurrent", []):
                return Plain(name=self._user)
            case ("security.principal.windowsbuiltinrole", "administrator", None):
                return "Administrator"
        raise Unsupported(f"[{type_}]::{member}")

    def cast(self, type_: str, value: Any) -> Any:
        match type_.lower():
            case "int" | "int64":
                try:
                    return int(value or 0)
                except ValueError:
                    raise Failure("System.Management.Automation.PSInvalidCastException") from None
            case "adsi":
                return _Entry(self._host, str(value), is_admin=self._is_admin)
        raise Unsupported(f"[{type_}]")

    @property
    def _is_admin(self) -> bool:
        return self._host.is_administrator(self._user)

    # -- commands ---------------------------------------------------------------------------------

    def command(self, name: str, positional: list[Any], named: dict[str, Any]) -> Any:
        handler = getattr(self, "_run_" + name.lower().replace("-", "_"), None)
        if handler is None:
            raise Unsupported(name)
        shown = [f"{key}={_logged(value)}" for key, value in named.items()]
        self._host.record.add("event 4103", " ".join([name, *map(_logged, positional), *shown]))
        return handler(positional, named)

    def _run_convertto_json(self, positional: list[Any], _named: dict[str, Any]) -> str:
        return json.dumps(positional[0], default=_refuse)

    def _run_get_command(self, positional: list[Any], _named: dict[str, Any]) -> Any:
        known = {"set-localuser", "get-localuser"} if self._host.has_local_accounts else set()
        name = str(positional[0]).lower()
        if self._host.has_task_commands:
            known |= {"get-scheduledtask"}
        return Plain(name=name) if name in known else VOID

    def _run_get_date(self, _positional: list[Any], _named: dict[str, Any]) -> datetime:
        return datetime.now(UTC)

    def _run_add_type(self, _positional: list[Any], _named: dict[str, Any]) -> Any:
        return VOID

    def _run_get_ciminstance(self, positional: list[Any], _named: dict[str, Any]) -> Any:
        host = self._host
        match positional[0]:
            case "Win32_ComputerSystem":
                return Plain(domainrole=5 if host.is_controller else 2)
            case "Win32_OperatingSystem":
                return Plain(caption="Simulated Windows Server")
            case "Win32_UserAccount":
                return [Plain(name=account.name) for account in host.accounts.values()]
            case "Win32_Service":
                # Beside those of accounts, there are always some of the system's.
                return [Plain(name="Spooler", startname="LocalSystem", state="Running"), *self._services()]
        raise Unsupported(f"Get-CimInstance {positional[0]}")

    def _run_get_wmiobject(self, positional: list[Any], _named: dict[str, Any]) -> Any:
        if positional != ["Win32_Service"]:
            raise Unsupported(f"Get-WmiObject {positional[0]}")
        return self._services()

    def _services(self) -> list[dependants.Service]:
        return [dependants.Service(self._host, one, self._is_admin) for one in self._listed("service")]

    def _listed(self, kind: str) -> list[hosts.Dependant]:
        if kind in self._host.unasked:
            raise Failure("Microsoft.Management.Infrastructure.CimException", hresult=0x80041001)
        return [one for one in self._host.dependants if one.kind == kind]

    def _run_get_scheduledtask(self, _positional: list[Any], _named: dict[str, Any]) -> Any:
        return [dependants.listed(one) for one in self._listed("task")]

    def _run_start_sleep(self, _positional: list[Any], named: dict[str, Any]) -> Any:
        time.sleep(min(named["milliseconds"], 20) / 1000)
        return VOID

    def _run_get_localuser(self, _positional: list[Any], named: dict[str, Any]) -> Any:
        account = self._host.accounts.get(str(named["name"]).lower())
        if account is None:
            raise Failure(
                "Microsoft.PowerShell.Commands.UserNotFoundException",
                id_="UserNotFound,Microsoft.PowerShell.Commands.GetLocalUserCommand",
            )
        return Plain(passwordlastset=None if account.must_change else _Moment(account.set_at))

    def _run_set_localuser(self, _positional: list[Any], named: dict[str, Any]) -> Any:
        secure = named["password"]
        if not isinstance(secure, _SecureString):
            raise Unsupported("Set-LocalUser -Password of a plain string")
        kind, command = "Microsoft.PowerShell.Commands.", ",Microsoft.PowerShell.Commands.SetLocalUserCommand"
        if not self._is_admin:
            raise Failure(kind + "AccessDeniedException", id_="AccessDenied" + command)
        match self._host.reset(str(named["name"]), secure.value):
            case 0:
                return VOID
            case hosts.NO_SUCH_USER:
                raise Failure(kind + "UserNotFoundException", id_="UserNotFound" + command)
            case hosts.POLICY_REFUSED:
                raise Failure(kind + "InvalidPasswordException", id_="InvalidPassword" + command)
            case code:
                raise Failure(kind + "InternalException", hresult=code, id_="Internal" + command)

    def _run_new_object(self, positional: list[Any], named: dict[str, Any]) -> Any:
        if named:
            if positional or named != {"comobject": "Schedule.Service"}:
                raise Unsupported("New-Object with parameters")
            return dependants.Scheduler(self._host, self._is_admin)
        type_, arguments = positional[0], positional[1] if len(positional) > 1 else []
        match (str(type_).lower(), arguments):
            case ("security.accesscontrol.registrysecurity", []):
                return _Rights()
            case ("security.principal.securityidentifier", [bytes(sid), 0]):
                return Plain(value=sid.decode())
            case ("security.principal.windowsprincipal", [_]):
                return _Roles(is_admin=self._is_admin)
            case ("security.securestring", []):
                return _SecureString()
            case ("threading.mutex", [False, str(name)]):
                return self._mutex(name)
            case ("directoryservices.accountmanagement.principalcontext", ["Machine"]):
                return _PrincipalContext(self._host)
            case ("microsoft.web.administration.servermanager", []):
                self._listed("pool")
                return dependants.ServerManager(self._host, self._is_admin)
        raise Unsupported(f"New-Object {type_}")

    def _mutex(self, name: str) -> Mutex:
        with self._host.lock:
            made = self._host.mutexes.setdefault(name, Mutex())
        assert isinstance(made, Mutex)
        self._held.append(made)
        return made


def _logged(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(_logged, value))
    if isinstance(value, dict):
        return "System.Collections.Hashtable"
    return text(value) if isinstance(value, str | int | None) else getattr(value, "TYPE", "object")


def _refuse(value: Any) -> Any:
    raise Unsupported(f"JSON of {value!r}")


class _Stopwatch(Thing):
    TYPE = "System.Diagnostics.Stopwatch"

    def __init__(self) -> None:
        self._began = time.monotonic()

    def p_elapsed(self) -> Plain:
        return Plain(totalseconds=int(time.monotonic() - self._began))


class _Utf8(Thing):
    TYPE = "System.Text.UTF8Encoding"

    def m_getstring(self, given: bytes) -> str:
        return given.decode(errors="replace")


class _In(Thing):
    TYPE = "System.IO.TextReader"

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def m_readline(self) -> str | None:
        return self._streams.read_line()


class _Out(Thing):
    TYPE = "System.IO.TextWriter"

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    def m_writeline(self, line: str) -> Any:
        self._streams.write(line)
        return VOID


class _Moment(Thing):
    TYPE = "System.DateTime"

    def __init__(self, moment: datetime) -> None:
        self._moment = moment

    def m_touniversaltime(self) -> _Moment:
        return self

    def p_ticks(self) -> int:
        past = self._moment - _EPOCH
        return (past.days * 86_400 + past.seconds) * 10_000_000 + past.microseconds * 10


class _Key(Thing):
    """A key of the registry."""

    TYPE = "Microsoft.Win32.RegistryKey"

    def __init__(self, host: WindowsHost, path: str, *, is_writable: bool) -> None:
        self._host = host
        self._path = path
        self._is_writable = is_writable

    def _below(self, name: str) -> str:
        return f"{self._path}\\{name}".strip("\\")

    def _need_rights(self) -> None:
        if not self._is_writable:
            raise Failure("System.UnauthorizedAccessException", hresult=hosts.ACCESS_DENIED)

    def m_opensubkey(self, name: str, is_writable: bool = False) -> Any:
        if is_writable:
            self._need_rights()
        path = self._below(name)
        with self._host.lock:
            is_there = path.lower() in self._host.registry
        return _Key(self._host, path, is_writable=self._is_writable) if is_there else None

    def m_createsubkey(self, name: str, check: str = "", rights: Any = None) -> Any:
        self._need_rights()
        if check not in ("", "ReadWriteSubTree") or not (rights is None or isinstance(rights, _Rights)):
            raise Unsupported("CreateSubKey")
        with self._host.lock:
            self._host.set_key(self._below(name))
            if rights is not None:
                self._host.set_key(self._below(name), **{"(rights)": rights.sddl})
        return _Key(self._host, self._below(name), is_writable=True)

    def m_getvalue(self, name: str, default: Any = None) -> Any:
        with self._host.lock:
            return self._host.registry.get(self._path.lower(), {}).get(name.lower(), default)

    def m_setvalue(self, name: str, value: Any, kind: str) -> Any:
        self._need_rights()
        if kind != "QWord":
            raise Unsupported(kind)
        with self._host.lock:
            self._host.set_key(self._path, **{name: value})
        return VOID

    def m_deletevalue(self, name: str, must_be_there: bool) -> Any:
        self._need_rights()
        with self._host.lock:
            self._host.registry[self._path.lower()].pop(name.lower(), None)
            self._host.on_change()
        return VOID

    def m_getsubkeynames(self) -> list[str]:
        with self._host.lock:
            below = self._path.lower() + "\\"
            return sorted(p[len(below) :] for p in self._host.registry if p.startswith(below))

    def m_flush(self) -> Any:
        return VOID


class _Rights(Thing):
    TYPE = "System.Security.AccessControl.RegistrySecurity"
    sddl = ""

    def m_setsecuritydescriptorsddlform(self, sddl: str) -> Any:
        self.sddl = sddl
        return VOID


class _Roles(Thing):
    TYPE = "System.Security.Principal.WindowsPrincipal"

    def __init__(self, *, is_admin: bool) -> None:
        self._is_admin = is_admin

    def m_isinrole(self, role: str) -> bool:
        if role != "Administrator":
            raise Unsupported(role)
        return self._is_admin


class _SecureString(Thing):
    TYPE = "System.Security.SecureString"

    def __init__(self) -> None:
        self.value = ""

    def m_appendchar(self, character: str) -> Any:
        self.value += character
        return VOID


class Mutex(Thing):
    """A lock of the whole host."""

    TYPE = "System.Threading.Mutex"

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None
        self._is_abandoned = False

    def m_waitone(self, milliseconds: int) -> bool:
        if not self._lock.acquire(timeout=milliseconds / 1000):
            return False
        self._owner = threading.get_ident()
        if self._is_abandoned:
            self._is_abandoned = False
            raise Failure("System.Threading.AbandonedMutexException")
        return True

    def m_releasemutex(self) -> Any:
        self._owner = None
        self._lock.release()
        return VOID

    def abandon(self) -> None:
        """Give it up where this thread's process has ended with it."""
        if self._owner == threading.get_ident():
            self._is_abandoned = True
            self._owner = None
            self._lock.release()


class _PrincipalContext(Thing):
    TYPE = "System.DirectoryServices.AccountManagement.PrincipalContext"

    def __init__(self, host: WindowsHost) -> None:
        self._host = host

    def m_validatecredentials(self, user: str, value: str) -> bool:
        host = self._host
        if host.is_broken_check:
            raise Failure("System.IO.FileNotFoundException", hresult=0x80070035)
        code = host.log_on(user, host.accepts(user, value))
        if code in (0, hosts.LOGON_FAILURE):
            return code == 0
        raise Failure(
            "System.DirectoryServices.AccountManagement.PrincipalOperationException",
            hresult=0x80070000 | code,
        )


class _Entry(Thing):
    """An object of the WinNT provider of ADSI: it is looked for when a member is asked for."""

    TYPE = "System.DirectoryServices.DirectoryEntry"

    def __init__(self, host: WindowsHost, path: str, *, is_admin: bool) -> None:
        self._host = host
        machine, _, name = path.removeprefix("WinNT://").removesuffix(",user").partition("/")
        if path != f"WinNT://{machine}/{name},user" or machine != host.name:
            raise Unsupported(path)
        self._name = name
        self._is_admin = is_admin

    def _account(self) -> Account:
        account = self._host.accounts.get(self._name.lower())
        if account is None:
            raise Failure(_COM, hresult=hosts.NO_SUCH_USER)
        return account

    def read(self, name: str) -> Any:
        rules, account = self._host.rules, self._account()
        flags = 512 | (2 * (not account.is_enabled)) | (16 * account.is_locked)
        properties: dict[str, Callable[[], Any]] = {
            "userflags": lambda: flags | (65536 * account.never_expires),
            "objectsid": lambda: f"S-1-5-21-1-2-3-{account.rid}".encode(),
            "badpasswordattempts": lambda: account.bad_attempts,
            "maxbadpasswordsallowed": lambda: rules.threshold,
            "lockoutobservationinterval": lambda: rules.window,
            "minpasswordlength": lambda: rules.length,
            "passwordhistorylength": lambda: rules.history,
            "passwordage": lambda: int((datetime.now(UTC) - account.set_at).total_seconds()),
            "passwordexpired": lambda: int(account.must_change),
        }
        if name.lower() == "accountexpirationdate":
            if account.expires is None:
                raise Failure(_COM, hresult=0x80020006)
            return Plain(value=account.expires)
        if name.lower() not in properties:
            raise Unsupported(f"ADSI {name}")
        return Plain(value=properties[name.lower()]())

    def m_setpassword(self, value: str) -> None:
        if not self._is_admin:
            raise Failure(_COM, hresult=hosts.ACCESS_DENIED)
        if code := self._host.reset(self._name, value):
            raise Failure(_COM, hresult=code)
