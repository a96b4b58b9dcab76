# What the credential looks like from outside: when it was set, its number, and what keeps it from working.
$account = Get-Account
$facts = @{ say = 'END'; problem = $account.problem; generation = Get-Generation; set = '' }
if (($account.problem -ne 'no_such_user') -and (Get-Command Get-LocalUser -ErrorAction SilentlyContinue)) {
    $when = (Get-LocalUser -Name $user).PasswordLastSet
    if ($when) { $facts.set = "$($when.ToUniversalTime().Ticks)" }
    else { $facts.set = 'never' }
}
Say $facts
