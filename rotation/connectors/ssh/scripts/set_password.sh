# Give $user the password that arrives on standard input, if this is still wanted and still safe.
# Arguments: nonce, user, console, generation, allowed (reasons to let pass: must_change, foreign_console), controlled
# (what the check of passwords stood on when it last refused all that it must refuse, or nothing), login_follows (yes: a
# login asks that check next, so it is not asked here where it stands on the same), recorded_here (no: a
# script before, in this same session of sudo, has seen that it is not recorded), limit (the seconds
# after which timeout(1) ends this script), hash_seconds (for chpasswd, which may have to make a slow hash).
#
# Everything that can refuse does so before READY, that is, before the value has left the worker. All of it
# happens under a lock whose descriptor chpasswd inherits: while any process of an older change is alive, a
# newer one waits. The whole is ended by timeout(1), and a commit that comes late is not obeyed.

look_at_uptime
started=$seconds
kind=password
mark=$fence_root/$console/$user.$kind
lock=$fence_root/$user.password.lock

refuse_account() {
    account_problem
    [ -z "$problem" ] || { [ "$problem" = must_change ] && is_allowed must_change; } || stop REFUSED "$problem"
}
refuse_account
[ "$recorded_here" = no ] || ! is_written_down || stop REFUSED sudo_log

open_lock
take_lock

# Once more, now that nobody else is changing it.
refuse_account
! has_foreign_mark || is_allowed foreign_console || stop REFUSED foreign_console
look_at_generation
[ -n "$recorded" ] || stop REFUSED fence
[ "$generation" -ge "$recorded" ] || stop STALE
free_kilobytes /etc
[ "$free" -ge 64 ] || stop REFUSED disk

look_in_shadow
before=$hash

# Whether the host was asked already, on the same footing, if its check can say no.
find_checker
look_at_standing
is_controlled() { [ -n "$standing" ] && [ "$standing" = "$controlled" ]; }
can_refuse=
if [ -n "$checker" ] && ! is_controlled; then
    # No secret: it is no value, and was never one. Before anything is changed, since nothing could be shown after.
    # Where the check is slow there is no time for it here: the verdict makes up for it, or is left out.
    check_seconds=2
    check "no-$nonce"
    case $? in
        0) stop REFUSED accepts_anything ;;
        7) can_refuse=yes ;;
    esac
fi

# Sets $verdict to what the host's own check makes of the new value, or to nothing: asked here, it needs no connection
# of its own later. A wrong value and a part of the right one must be refused, or its yes means nothing.
look_at_verdict() {
    verdict=
    [ -n "$checker" ] || return
    if [ -n "$login_follows" ] && is_controlled; then return; fi
    in_time || return
    check "$value"
    case $? in
        0) ;;
        7) verdict=REJECTED; return ;;
        *) return ;;
    esac
    if is_controlled; then verdict=ACCEPTED; return; fi
    in_time || return
    check "x$value"
    case $? in
        0) verdict=accepts_anything; return ;;
        7) ;;
        *) return ;;
    esac
    short=${value%?}
    if [ -n "$short" ]; then
        in_time || return
        check "$short"
        case $? in
            0) verdict=truncates; return ;;
            7) ;;
            *) return ;;
        esac
    fi
    verdict=ACCEPTED${can_refuse:+ $standing}
}

# Whether there is time for one more check before the script is ended. No verdict is better than no answer: the
# caller then asks apart from the change.
in_time() {
    look_at_uptime
    check_seconds=$((limit - 1 - (seconds - started)))
    [ $check_seconds -ge 1 ]
}

# The word for why chpasswd has set nothing: the value, where PAM says so, else what can be seen to be wrong.
why_not() {
    # A shell searches a long text slowly, and it is the end that tells.
    [ ${#said} -le 2000 ] || said=$(printf '%s' "$said" | tail -c 2000)
    case $said in
        *'BAD PASSWORD'* | *'Weak password'* | *'already used'* | *'maximum number of retries'* | *'too short'* | \
            *'too simple'* | *'too similar'* | *'dictionary'*) echo policy; return ;;
        *'lock busy'* | *'cannot lock'* | *"couldn't lock"*) echo shadow_lock; return ;;
        *'Module is unknown'* | *'Critical error'* | *'System error'* | *'Failure setting'* | *'Symbol not found'* | \
            *'Failed to load module'*) echo pam_broken; return ;;
    esac
    free_kilobytes /etc
    [ "$free" -ge 64 ] || { echo disk; return; }
    look_for_frozen /etc /etc/shadow /etc/nshadow
    [ -z "$frozen" ] || { echo shadow_frozen; return; }
    for path in /etc/shadow /etc/nshadow; do if is_mounted "$path"; then echo shadow_mount; return; fi; done
    echo not_set
}

say READY

# A connection cut in mid-line leaves read with a status of 1, and no second line follows: nothing is applied.
IFS= read -r value && IFS= read -r commit && [ "$commit" = "$nonce COMMIT" ] || stop ABORTED
# What is left must be enough for chpasswd.
look_at_uptime
[ $((seconds - started)) -le $((limit - hash_seconds - 1)) ] || stop ABORTED

# First the number, then the change: an attempt that dies in between still keeps older ones out.
write_generation || stop FAILED disk

# What it says is looked through for PAM's answer, and goes no further.
if can_limit; then limited="timeout -s KILL $hash_seconds"; else limited=; fi
said=$(printf '%s:%s\n' "$user" "$value" | $limited chpasswd 2>&1)
status=$?

# timeout(1) ends together with what it kills, and a program killed in the middle of rename(2) still finishes that.
# It has the lock until it is gone: ours is given up, and to have it again is to know.
if [ $status = 124 ] || [ $status = 137 ]; then
    exec 9>&-
    can_lock || stop UNSURE
    exec 9>>"$lock"
    until flock -n 9; do sleep 1; done
fi

# The status alone is no evidence: a program that is killed after the switch has changed the password, and one
# that hands it to a directory service has not changed this file. Every setting draws a new salt, so a line
# that is the same as before means that nothing was set.
look_in_shadow
if [ "$before" = "$hash" ]; then changed=no; else changed=yes; fi
case $status:$changed in
    0:yes) look_at_verdict; stop APPLIED $verdict ;;
    0:no | *:yes) stop UNSURE ;;
    124:no | 137:no) stop FAILED timeout ;;
esac
stop FAILED "$(why_not)"
