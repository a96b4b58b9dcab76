# Ask the host whether a value is right. To ask is to log on, so near the lock-out nothing is asked.
$account = Get-Account
if ($account.problem) { Say @{ say = 'UNCLEAR'; code = $account.problem }; exit 0 }
if ($account.near) { Say @{ say = 'UNCLEAR'; code = 'near_lock_out' }; exit 0 }
Say @{ say = 'READY' }
$value = Read-Value
if ($null -eq $value) { Say @{ say = 'ABORTED' }; exit 0 }
Say (Test-Value $value)
