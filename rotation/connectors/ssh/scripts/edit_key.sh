# Add or remove a public key. Arguments: nonce, user, address, here, editor, console, generation, kind (key), action (add
# or remove), asked_key, asked_like (the key that it is to stand beside, or nothing), allowed (reasons to let pass:
# foreign_console), later_sshd, later_files and later_setpriv (what preflight.sh has just told over this same connection,
# or nothing), limit (the seconds after which timeout(1) ends this script).
#
# The shell that runs this one reads on when it has ended. So nothing but the line that commits it comes on standard input.
# One lock for all the key files of a host: two accounts may share one file.

public=$asked_key like=$asked_like
[ "$later_setpriv" != yes ] || has_setpriv=yes
look_at_uptime
started=$seconds
mark=$fence_root/$console/$user.$kind
lock=$fence_root/keys.lock

key_account_problem
[ -z "$problem" ] || stop REFUSED "$problem"
if [ -n "$later_sshd" ]; then sshd_says=$later_sshd all_patterns=$later_files; else ask_sshd; fi
sshd_problem
[ -z "$problem" ] || stop REFUSED "$problem"

open_lock
take_lock

! has_foreign_mark || is_allowed foreign_console || stop REFUSED foreign_console
look_at_generation
[ -n "$recorded" ] || stop REFUSED fence
[ "$generation" -ge "$recorded" ] || stop STALE

say READY

IFS= read -r commit && [ "$commit" = "$nonce COMMIT" ] || stop ABORTED
look_at_uptime
[ $((seconds - started)) -le $((limit - 4)) ] || stop ABORTED

write_generation || stop FAILED disk

# A single file gets the twins or is as it was. Of two files one may be changed and the other not, so each is tried
# before, and if it fails all the same, that is taken back: the old key's lines are as they were.
add_twins() {
    if has_one_file; then
        with_files twin all
        [ "$answer" = script ] || return 0 # without an answer it may have been changed
    else
        with_files try all
        [ "$answer" = done ] || return 0
        with_files twin all
        [ "$answer" != done ] || return 0
    fi
    twins=$answer
    with_files remove all
    case $answer in done | absent) answer=$twins ;; *) answer=unsure ;; esac
    [ "$answer" != absent ] || answer=unsure
}

# What a key may do follows from where it stands and behind which options: the new key gets a line beside each one of
# the old key, in each file. Where the old key stands in no file, one line of its own in the first.
add_key() {
    if [ -n "$like" ] && [ "$public" != "$like" ]; then
        add_twins
        [ "$answer" = absent ] || return 0
    fi
    with_files find all
    [ "$answer" = absent ] || return 0
    if has_key_command; then answer=key_by_command; return; fi
    with_files add first
}

if [ "$action" = add ]; then add_key; else with_files remove all; fi
case $answer in
    done) stop APPLIED ;;
    absent) if [ "$action" = remove ]; then stop APPLIED; else stop UNSURE; fi ;;
    unsure) stop UNSURE ;;
    *) stop FAILED "$answer" ;;
esac
