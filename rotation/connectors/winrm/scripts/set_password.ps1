# Give $user the password that arrives on standard input, if this is still wanted and still safe. Everything that can
# refuse does so before READY, that is, before the value has left the worker, and once more under the lock.
$generation = [int64](Read-Text)
$allowed = (Read-Text) -split ' '
$limit = [int](Read-Text)

function Get-Refusal {
    $account = Get-Account
    $problem = $account.problem
    if ($problem -and -not ($problem -eq 'must_change' -and $allowed -contains 'must_change')) { return @{ say = 'REFUSED'; code = $problem } }
    if ((Test-Foreign) -and -not ($allowed -contains 'foreign_console')) { return @{ say = 'REFUSED'; code = 'foreign_console' } }
    if ($generation -lt (Get-Generation)) { return @{ say = 'STALE' } }
    $null
}

function Set-Value($value) {
    # Number first: an attempt that dies in between still keeps older ones out.
    try { Set-Generation $generation } catch { return @{ say = 'FAILED'; code = 'fence' } }
    # No cmdlet takes the value itself as a parameter: module logging would write it down.
    $secure = New-Object Security.SecureString
    foreach ($character in $value.ToCharArray()) { $secure.AppendChar($character) }
    try {
        if (Get-Command Set-LocalUser -ErrorAction SilentlyContinue) { Set-LocalUser -Name $user -Password $secure }
        else { $null = ([ADSI]"WinNT://$machine/$user,user").SetPassword($value) }
    } catch { return (Get-Cause $_) }
    # Should the value not have arrived, to ask for it is a wrong logon.
    if ((Get-Account).near) { $checked = @{ say = 'UNCLEAR'; code = 'near_lock_out' } }
    else { $checked = Test-Value $value }
    @{ say = 'APPLIED'; checked = $checked }
}

$refusal = Get-Refusal
if ($refusal) { Say $refusal; exit 0 }
Say @{ say = 'READY' }
$value = Read-Value
if (($null -eq $value) -or ($clock.Elapsed.TotalSeconds -gt $limit)) { Say @{ say = 'ABORTED' }; exit 0 }
$mutex = New-Object Threading.Mutex($false, "Global\Keyturn-$name")
# A process that died with the lock gives it up.
try { $held = $mutex.WaitOne(3000) } catch [Threading.AbandonedMutexException] { $held = $true }
if (-not $held) { Say @{ say = 'BUSY' }; exit 0 }
try {
    $answer = Get-Refusal
    if (-not $answer) { $answer = Set-Value $value }
} catch { $answer = Get-Cause $_ } finally { $mutex.ReleaseMutex() }
Say $answer
