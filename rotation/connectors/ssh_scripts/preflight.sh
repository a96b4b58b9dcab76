# Look at the host and, where $user is not empty, at that account. Changes nothing.
# Arguments: nonce, user, console, manager, address (of the client, as the host sees it), kind (of the credential:
# password or key), editor.

fact() { say FACT "$1=$2"; }

fact machine_id "$(head -n 1 /etc/machine-id 2>/dev/null)"
fact os_name "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
fact free_etc "$(free_kilobytes /etc)"
fact free_fence "$(free_kilobytes /var/lib)"
if can_lock && can_limit; then fact fenced yes; else fact fenced no; fi
if command -v chpasswd >/dev/null; then fact chpasswd yes; else fact chpasswd no; fi

# What sudo keeps of a session's input it keeps of ours.
if command -v sudo >/dev/null &&
    sudo -n -l -U "$manager" 2>/dev/null | grep -Eq '(^|[ ,])(log_input|log_stdin)([ ,]|$)|(^|[^A-Z])LOG_INPUT:'
then fact sudo_log yes; else fact sudo_log no; fi

count=0
while IFS=: read -r name x uid gid gecos home login_shell || [ -n "$name" ]; do
    is_number "$uid" || continue
    [ "$uid" -eq 0 ] || { [ "$uid" -ge 1000 ] && [ "$uid" -lt 65534 ]; } || continue
    case $login_shell in */nologin | */false | */sync) continue ;; esac
    [ $count -lt 100 ] || break
    count=$((count + 1))
    fact account "$name"
done </etc/passwd

if [ -n "$user" ]; then
    if [ "$kind" = key ]; then problem=$(key_account_problem); else problem=$(account_problem); fi
    fact problem "$problem"
    look_in_passwd
    look_in_shadow
    fact shell "$login_shell"
    today=$(($(date +%s) / 86400))
    if is_number "$changed" && is_number "$most" && [ "$today" -gt $((changed + most)) ]
    then fact aged yes; else fact aged no; fi
    fact groups "$(id -Gn "$user" 2>/dev/null)"
    if [ -n "$(foreign_mark)" ]; then fact foreign yes; else fact foreign no; fi
    if [ -n "$console" ]; then fact generation "$(recorded_generation)"; fi
    ask_sshd
    printf '%s\n' "$sshd_says" | while read -r key rest; do
        case $key in
            passwordauthentication | permitrootlogin | authenticationmethods | forcecommand | usepam | \
                allowusers | denyusers | allowgroups | denygroups) fact "sshd_$key" "$rest" ;;
        esac
    done
    if [ "$kind" = key ] && [ $known = yes ]; then
        problem=$(sshd_problem)
        public='' like=''
        set -f
        for pattern in $(sshd_value authorizedkeysfile); do expand "$pattern" || problem=keys_elsewhere; break; done
        set +f
        if [ -z "$problem" ]; then problem=$(with_file look); fi
        if [ "$problem" = done ] && is_loose "$file"; then problem=strict_modes; fi
        fact keys "$problem"
    fi
fi
say END
