# The host, and the account where one is named; reads only.
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
    $names = @(".\$user", "$machine\$user", $user)
    $services = @()
    foreach ($service in (Get-CimInstance Win32_Service)) { if ($names -contains $service.StartName) { $services += $service.Name } }
    $facts.services = $services
    $tasks = @()
    if (Get-Command Get-ScheduledTask -ErrorAction SilentlyContinue) {
        foreach ($task in (Get-ScheduledTask)) { if ($names -contains $task.Principal.UserId) { $tasks += $task.TaskName } }
    }
    $facts.tasks = $tasks
}
Say $facts
