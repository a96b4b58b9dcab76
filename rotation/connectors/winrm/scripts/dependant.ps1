# Give one service, scheduled task or application pool the password that $user has already, and have it start again if
# it runs. Only what runs as the account is given it. No cmdlet takes the value as a parameter: module logging would
# write it down.
$kind = Read-Text
$item = Read-Text
$generation = [int64](Read-Text)
$restarts = Read-Text
$limit = [int](Read-Text)

$account = Get-Account
if (-not $account.sid) { Say @{ say = 'REFUSED'; code = $account.problem }; exit 0 }
$names = Get-Names $account.sid
if ($kind -eq 'task') {
    $scheduler = New-Object -ComObject Schedule.Service
    $scheduler.Connect()
    $folder = $scheduler.GetFolder('\')
}
if ($kind -eq 'pool') {
    $library = "$env:windir\System32\inetsrv\Microsoft.Web.Administration.dll"
    if (-not [IO.File]::Exists($library)) { Say @{ say = 'GONE' }; exit 0 }
    $null = [Reflection.Assembly]::LoadFrom($library)
    $manager = New-Object Microsoft.Web.Administration.ServerManager
}

function Find-Dependant {
    if ($kind -eq 'service') {
        foreach ($one in (Get-WmiObject Win32_Service)) {
            if (($one.Name -eq $item) -and ($names -contains $one.StartName)) { return $one }
        }
    }
    if ($kind -eq 'task') {
        try { $one = $folder.GetTask($item) } catch {
            $cause = Get-Cause $_
            if (@(-2147024894, -2147024893) -contains $cause.hresult) { return $null }
            throw
        }
        $keeps = @(1, 6) -contains $one.Definition.Principal.LogonType
        if ($keeps -and ($names -contains $one.Definition.Principal.UserId)) { return $one }
    }
    if ($kind -eq 'pool') {
        foreach ($one in $manager.ApplicationPools) {
            $is_own = "$($one.ProcessModel.IdentityType)" -eq 'SpecificUser'
            if (($one.Name -eq $item) -and $is_own -and ($names -contains $one.ProcessModel.UserName)) { return $one }
        }
    }
    $null
}
function Test-Running($one) {
    if ($kind -eq 'task') { $one.State -eq 4 }
    else { @('Running', 'Started') -contains "$($one.State)" }
}
function Test-Ended($one) {
    if ($kind -eq 'task') { $one.State -ne 4 }
    else { "$($one.State)" -eq 'Stopped' }
}
function Wait-Until($wanted) {
    while ($clock.Elapsed.TotalSeconds -lt $limit) {
        $one = Find-Dependant
        if (($wanted -eq 'ended') -and (Test-Ended $one)) { return $true }
        if (($wanted -eq 'running') -and (Test-Running $one)) { return $true }
        Start-Sleep -Milliseconds 200
    }
    $false
}

# An older attempt that is late gives nothing: the account has a newer value by now.
function Get-Refusal {
    if (Test-Foreign) { return @{ say = 'REFUSED'; code = 'foreign_console' } }
    if ($generation -lt (Get-Generation)) { return @{ say = 'STALE' } }
    $null
}
function Set-Password($one, $value) {
    if ($kind -eq 'service') {
        $code = $one.Change($null, $null, $null, $null, $null, $null, $one.StartName, $value, $null, $null, $null).ReturnValue
        if ($code -ne 0) { return @{ say = 'FAILED'; number = $code } }
    }
    if ($kind -eq 'task') {
        $whole = $one.Definition
        $null = $folder.RegisterTaskDefinition($item, $whole, 4, $whole.Principal.UserId, $value, $whole.Principal.LogonType, $null)
    }
    if ($kind -eq 'pool') {
        $one.ProcessModel.Password = $value
        $null = $manager.CommitChanges()
    }
    $null
}
function Stop-Dependant($one) {
    if ($kind -eq 'service') {
        $code = $one.StopService().ReturnValue
        if ($code -eq 3) { return 'in_use' }
        if ($code -ne 0) { return 'not_stopped' }
    }
    if ($kind -eq 'task') { $null = $one.Stop(0) }
    if ($kind -eq 'pool') { $null = $one.Stop() }
    if (-not (Wait-Until 'ended')) { return 'not_stopped' }
    ''
}
function Start-Dependant($one) {
    # One that is running already has been started by something else meanwhile.
    if ($kind -eq 'service') { if (@(0, 10) -notcontains $one.StartService().ReturnValue) { return 'not_started' } }
    # A task may have ended before it is looked at.
    if ($kind -eq 'task') { $null = $one.Run($null); return '' }
    if ($kind -eq 'pool') { $null = $one.Start() }
    if (-not (Wait-Until 'running')) { return 'not_started' }
    ''
}
function Restart-Dependant {
    $one = Find-Dependant
    if (-not (Test-Ended $one)) {
        try { $code = Stop-Dependant $one } catch { $code = 'not_stopped' }
        if ($code) { return $code }
    }
    try { Start-Dependant (Find-Dependant) } catch { 'not_started' }
}

$found = Find-Dependant
if (-not $found) { Say @{ say = 'GONE' }; exit 0 }
$refusal = Get-Refusal
if ($refusal) { Say $refusal; exit 0 }
Say @{ say = 'READY' }
$value = Read-Value
if (($null -eq $value) -or ($clock.Elapsed.TotalSeconds -gt $limit)) { Say @{ say = 'ABORTED' }; exit 0 }
$runs = Test-Running $found
$mutex = New-Object Threading.Mutex($false, "Global\Keyturn-$name")
# A process that died with the lock gives it up.
try { $held = $mutex.WaitOne(3000) } catch [Threading.AbandonedMutexException] { $held = $true }
if (-not $held) { Say @{ say = 'BUSY' }; exit 0 }
try {
    $answer = Get-Refusal
    if (-not $answer) { $answer = Set-Password $found $value }
} catch { $answer = Get-Cause $_ } finally { $mutex.ReleaseMutex() }
if ($answer) { Say $answer; exit 0 }
$answer = @{ say = 'GIVEN'; restarted = $false; code = '' }
if (($restarts -eq 'always') -or (($restarts -eq 'running') -and $runs)) {
    $answer.code = Restart-Dependant
    $answer.restarted = $answer.code -eq ''
}
Say $answer
