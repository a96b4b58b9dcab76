# Ask the host's own password check whether a value is right. Arguments: nonce, user.
#
# unix_chkpwd(8) is what PAM itself asks: it makes no session, waits for nothing and feeds no counter of
# failed logins. It also answers where sshd allows no passwords or the shell runs nothing.

account_problem
case $problem in
    no_such_user | not_local | other_source | locked | empty_password) stop UNCLEAR "$problem" ;;
esac

! is_written_down || stop UNCLEAR sudo_log

find_checker
[ -n "$checker" ] || stop UNCLEAR no_checker

# What is true while a change is under way may not be in a moment. It ends, or is ended, by itself.
lock=$fence_root/$user.password.lock
if [ -f "$lock" ] && can_lock; then
    tries=0
    until flock -s -n 9 9<"$lock"; do
        tries=$((tries + 1))
        [ $tries -le 3 ] || stop UNCLEAR changing
        sleep 1
    done
fi

say READY
IFS= read -r value && IFS= read -r control && IFS= read -r short && IFS= read -r commit && [ "$commit" = "$nonce COMMIT" ] ||
    stop ABORTED

check "$value"
case $? in
    0) ;;
    7) stop REJECTED ;; # PAM_AUTH_ERR
    124 | 137) stop UNCLEAR slow_check ;;
    *) stop UNCLEAR checker_failed ;;
esac
# A yes is worth something only from a host that can also say no.
check "$control"
case $? in
    7) ;;
    0) stop UNCLEAR accepts_anything ;;
    124 | 137) stop UNCLEAR slow_check ;;
    *) stop UNCLEAR checker_failed ;;
esac
# And only if it means the whole value: old hashes read eight characters, or 72 bytes. $short is the value less its
# last character, or nothing where nothing would be left.
[ -n "$short" ] || stop ACCEPTED
check "$short"
case $? in
    7) stop ACCEPTED ;;
    0) stop UNCLEAR truncates ;;
    124 | 137) stop UNCLEAR slow_check ;;
    *) stop UNCLEAR checker_failed ;;
esac
