# What stands before every script. Each of them is a constant: what it is about arrives on standard input, one base64
# line for each text. It answers in lines of JSON behind the nonce that it was given.
if ($ExecutionContext.SessionState.LanguageMode -ne 'FullLanguage') { 'KEYTURN CONSTRAINED'; exit 3 }
$ErrorActionPreference = 'Stop'
$ProgressPreference = 'SilentlyContinue'
$clock = [Diagnostics.Stopwatch]::StartNew()

function Read-Text { [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String([Console]::In.ReadLine())) }
function Say($facts) { [Console]::Out.WriteLine($nonce + ' ' + (ConvertTo-Json $facts -Depth 4 -Compress)) }

# Numbers and types of an error only: its message can hold the value.
function Get-Cause($record) {
    $inner = $record.Exception
    while ($inner.InnerException) { $inner = $inner.InnerException }
    $facts = @{ say = 'ERROR'; type = $inner.GetType().FullName; id = $record.FullyQualifiedErrorId; hresult = $inner.HResult }
    if ($inner.ErrorCode) { $facts.number = $inner.ErrorCode }
    $facts
}

$nonce = Read-Text
$user = Read-Text
$console = Read-Text
$name = "$user.password"
$machine = $env:COMPUTERNAME
$hive = [Microsoft.Win32.Registry]::LocalMachine

# The fence: one number for each account and console. A console that is not ours has left a mark where there is one.
function Get-Generation {
    $key = $hive.OpenSubKey("SOFTWARE\Keyturn\$console")
    if ($key) { [int64]$key.GetValue($name, 0) } else { 0 }
}
function Test-Foreign {
    $root = $hive.OpenSubKey('SOFTWARE\Keyturn')
    if (-not $root) { return $false }
    foreach ($other in $root.GetSubKeyNames()) {
        if ($other -ne $console) {
            $key = $root.OpenSubKey($other)
            if ($key.GetValue($name, 0) -ne 0) { return $true }
        }
    }
    return $false
}
# Its rights come first: only administrators and the system read or write what is under it.
function Set-Generation($number) {
    $root = $hive.OpenSubKey('SOFTWARE\Keyturn', $true)
    if (-not $root) {
        $rights = New-Object Security.AccessControl.RegistrySecurity
        $rights.SetSecurityDescriptorSddlForm('O:BAG:BAD:P(A;CI;KA;;;BA)(A;CI;KA;;;SY)')
        $root = $hive.CreateSubKey('SOFTWARE\Keyturn', 'ReadWriteSubTree', $rights)
    }
    foreach ($other in $root.GetSubKeyNames()) {
        if ($other -ne $console) { $root.OpenSubKey($other, $true).DeleteValue($name, $false) }
    }
    $root.CreateSubKey($console).SetValue($name, [int64]$number, 'QWord')
    $root.Flush()
}

# Whether LAPS or its predecessor changes this account's password.
function Test-Laps($sid) {
    $laps = $hive.OpenSubKey('SOFTWARE\Microsoft\Windows\CurrentVersion\Policies\LAPS')
    $old = $hive.OpenSubKey('SOFTWARE\Policies\Microsoft Services\AdmPwd')
    $named = $null
    if ($laps -and $laps.GetValue('BackupDirectory', 0) -ne 0) { $named = "$($laps.GetValue('AdministratorAccountName', ''))" }
    elseif ($old -and $old.GetValue('AdmPwdEnabled', 0) -ne 0) { $named = "$($old.GetValue('AdminAccountName', ''))" }
    if ($null -eq $named) { return $false }
    if ($named) { return $named -eq $user }
    return $sid.EndsWith('-500')
}

# What is true of the account; reads only. `problem` is the first thing that stands in the way of a new password.
function Get-Account {
    $facts = @{ problem = '' }
    if ((Get-CimInstance Win32_ComputerSystem).DomainRole -ge 4) { $facts.problem = 'domain_controller'; return $facts }
    $entry = [ADSI]"WinNT://$machine/$user,user"
    try { $flags = $entry.UserFlags.Value } catch {
        $cause = Get-Cause $_
        if ($cause.hresult -ne -2147022675) { throw }
        $facts.problem = 'no_such_user'
        return $facts
    }
    $sid = (New-Object Security.Principal.SecurityIdentifier($entry.objectSid.Value, 0)).Value
    $facts.sid = $sid
    $facts.bad = $entry.BadPasswordAttempts.Value
    $facts.threshold = $entry.MaxBadPasswordsAllowed.Value
    # Half of what locks the account is left to its users, where that is more than one wrong password.
    $half = ($facts.bad -ge 2) -and ($facts.bad + $facts.bad -ge $facts.threshold)
    $facts.near = ($facts.threshold -gt 0) -and ($half -or ($facts.bad + 1 -ge $facts.threshold))
    $facts.window = $entry.LockoutObservationInterval.Value
    $facts.length = $entry.MinPasswordLength.Value
    $facts.history = $entry.PasswordHistoryLength.Value
    $facts.age = $entry.PasswordAge.Value
    $facts.never = ($flags -band 65536) -ne 0
    $ends = $null
    try { $ends = $entry.AccountExpirationDate.Value } catch { $ends = $null }
    if ($flags -band 2) { $facts.problem = 'disabled' }
    elseif ($flags -band 16) { $facts.problem = 'locked_out' }
    elseif ($ends -and $ends -lt (Get-Date)) { $facts.problem = 'account_expired' }
    elseif (Test-Laps $sid) { $facts.problem = 'laps' }
    elseif ($entry.PasswordExpired.Value -ne 0) { $facts.problem = 'must_change' }
    $facts
}

# The ways in which Windows writes the account where something runs as it.
function Get-Names($sid) { @(".\$user", "$machine\$user", $user, $sid) }

# Two lines: the value and the line that ends it. A connection that was cut leaves the second one out.
function Read-Value {
    $line = [Console]::In.ReadLine()
    $commit = [Console]::In.ReadLine()
    if ($commit -cne "$nonce COMMIT") { return $null }
    [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($line))
}

# The host's own check is a logon, and a wrong value counts as one. It throws for all that is not a wrong value.
function Test-Value($value) {
    Add-Type -AssemblyName System.DirectoryServices.AccountManagement
    $context = New-Object DirectoryServices.AccountManagement.PrincipalContext('Machine')
    try { if ($context.ValidateCredentials($user, $value)) { @{ say = 'ACCEPTED' } } else { @{ say = 'REJECTED' } } }
    catch { Get-Cause $_ }
}
