# Ask whether a public key stands in a file that sshd reads for an account. Arguments: nonce, user, address, here, editor.
# Makes no login. The options of its lines are told before the answer, and not judged here.

kind=key
key_account_problem
case $problem in no_such_user | not_local) stop UNCLEAR "$problem" ;; esac
ask_sshd
sshd_problem
[ -z "$problem" ] || stop UNCLEAR "$problem"

say READY
IFS= read -r public && IFS= read -r commit && [ "$commit" = "$nonce COMMIT" ] || stop ABORTED
like=
with_files find all
case $answer in
    done) tell_lines; stop ACCEPTED ;;
    absent)
        # Not in the files that we looked at: the host may know it from elsewhere.
        if has_key_command; then stop UNCLEAR key_by_command; fi
        [ "$served" = yes ] || stop UNCLEAR sshd_unseen
        stop REJECTED
        ;;
    *) stop UNCLEAR "$answer" ;;
esac
