# The host, and the account where one is named; reads only.
# What keeps this account's password on its own. A list that cannot be had is said to be missing, and is not empty.
function Get-Dependants($names) {
    try {
        foreach ($service in (Get-CimInstance Win32_Service)) {
            if ($names -contains $service.StartName) { @{ kind = 'service'; name = $service.Name; runs = ($service.State -eq 'Running') } }
        }
    } catch { @{ unasked = 'service' } }
    if (Get-Command Get-ScheduledTask -ErrorAction SilentlyContinue) {
        try {
            foreach ($task in (Get-ScheduledTask)) {
                $keeps = @('Password', 'InteractiveOrPassword') -contains "$($task.Principal.LogonType)"
                if ($keeps -and ($names -contains $task.Principal.UserId)) { @{ kind = 'task'; name = $task.TaskPath + $task.TaskName; runs = ("$($task.State)" -eq 'Running') } }
            }
        } catch { @{ unasked = 'task' } }
    } else { @{ unasked = 'task' } }
    $library = "$env:windir\System32\inetsrv\Microsoft.Web.Administration.dll"
    if (-not [IO.File]::Exists($library)) { return }
    try {
        $null = [Reflection.Assembly]::LoadFrom($library)
        $manager = New-Object Microsoft.Web.Administration.ServerManager
        foreach ($pool in $manager.ApplicationPools) {
            if (("$($pool.ProcessModel.IdentityType)" -eq 'SpecificUser') -and ($names -contains $pool.ProcessModel.UserName)) { @{ kind = 'pool'; name = $pool.Name; runs = ("$($pool.State)" -eq 'Started') } }
        }
    } catch { @{ unasked = 'pool' } }
}

$facts = @{ say = 'END'; version = $PSVersionTable.PSVersion.Major; machine = ''; os = ''; setter = $false }
$identity = [Security.Principal.WindowsIdentity]::GetCurrent()
$facts.admin = (New-Object Security.Principal.WindowsPrincipal($identity)).IsInRole([Security.Principal.WindowsBuiltInRole]::Administrator)
$key = $hive.OpenSubKey('SOFTWARE\Microsoft\Cryptography')
if ($key) { $facts.machine = $key.GetValue('MachineGuid', '') }
$facts.os = (Get-CimInstance Win32_OperatingSystem).Caption
$facts.controller = (Get-CimInstance Win32_ComputerSystem).DomainRole -ge 4
if (Get-Command Set-LocalUser -ErrorAction SilentlyContinue) { $facts.setter = $true }
$accounts = @()
if (-not $facts.controller) {
    foreach ($account in (Get-CimInstance Win32_UserAccount -Filter 'LocalAccount=True')) { $accounts += $account.Name }
}
$facts.accounts = $accounts
if ($user) {
    $facts.account = Get-Account
    $facts.generation = Get-Generation
    $facts.foreign = Test-Foreign
    $facts.dependants = @()
    $facts.unasked = @()
    $number = 0
    if ($facts.account.sid) {
        $names = Get-Names $facts.account.sid
        foreach ($one in (Get-Dependants $names)) {
            if ($one.unasked) { $facts.unasked += $one.unasked }
            else {
                # The rest is counted only: an answer has an end.
                if ($number -lt 300) { $facts.dependants += $one }
                $number += 1
            }
        }
    }
    $facts.number = $number
}
Say $facts
