# Look at the host and, where $user is not empty, at that account. Changes nothing.
# Arguments: nonce, user, console, manager, address (of the client, as the host sees it), here, kind (of the credential:
# password or key), editor, held (the public key that the account has now, or nothing).

machine_id=
IFS= read -r machine_id 2>/dev/null </etc/machine-id
fact machine_id "$machine_id"
fact os_name "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
free_kilobytes /etc
fact free_etc "$free"
free_kilobytes /var/lib
fact free_fence "$free"
if can_lock && can_limit; then fact fenced yes; else fact fenced no; fi
if command -v chpasswd >/dev/null; then fact chpasswd yes; else fact chpasswd no; fi

look_at_sudo_log "$manager"
fact sudo_log "$logged"

count=0
while IFS=: read -r name x uid gid gecos home login_shell || [ -n "$name" ]; do
    is_number "$uid" || continue
    [ "$uid" -eq 0 ] || { [ "$uid" -ge 1000 ] && [ "$uid" -lt 65534 ]; } || continue
    case $login_shell in */nologin | */false | */sync) continue ;; esac
    [ $count -lt 100 ] || break
    count=$((count + 1))
    fact account "$name"
done </etc/passwd

# Say which of these paths can't be replaced.
tell_frozen() {
    look_for_frozen "$@"
    while [ -n "$frozen" ]; do
        fact frozen "${frozen%%"$newline"*}"
        frozen=${frozen#*"$newline"}
    done
}

# Whether a hash of the account's password, as it is or as the host would make one now, may take seconds. By default
# yescrypt has cost 5 (j9T) and SHA 5,000 rounds; crypt(5), pam_unix(8), login.defs(5).
is_slow_to_hash() {
    case $hash in
        '$y$j'[./0-9A]'T$'* | '$6$'[!r]* | '$5$'[!r]*) ;;
        '$y$'* | '$6$rounds='* | '$5$rounds='* | '$2'*) return ;;
    esac
    grep -Eqs '^[^#]*rounds=' /etc/pam.d/common-password /etc/pam.d/system-auth /etc/pam.d/password-auth \
        /etc/pam.d/chpasswd /etc/pam.d/passwd ||
        grep -Eqs '^[[:space:]]*(YESCRYPT_COST_FACTOR|BCRYPT_(MIN|MAX)_ROUNDS|SHA_CRYPT_(MIN|MAX)_ROUNDS)' /etc/login.defs
}

if [ -n "$user" ]; then
    if [ "$kind" = key ]; then key_account_problem; else account_problem; fi
    fact problem "$problem"
    fact shell "$login_shell"
    [ -f "${login_shell:-/bin/sh}" ] && [ -x "${login_shell:-/bin/sh}" ] || fact no_shell yes
    fact uid "$uid"
    fact expires "$expires"
    fact changed "$changed"
    fact least "$least"
    case $hash in # its kind, and nothing more of it
        '$y$'*) fact hash yescrypt ;;
        '$7$'*) fact hash scrypt ;;
        '$6$'*) fact hash sha512 ;;
        '$5$'*) fact hash sha256 ;;
        '$1$'*) fact hash md5 ;;
        '$2'?'$'*) fact hash bcrypt ;;
        [./0-9A-Za-z]*) if [ ${#hash} -eq 13 ]; then fact hash des; fi ;;
    esac
    if [ "$kind" = password ]; then
        tell_frozen /etc /etc/shadow /etc/nshadow
        if is_mounted /etc/shadow; then fact mounted /etc/shadow; fi
        if is_slow_to_hash; then fact slow yes; fi
    fi
    look_at_date
    if is_number "$changed" && is_number "$most" && [ "$today" -gt $((changed + most)) ]
    then fact aged yes; else fact aged no; fi
    fact groups "$(id -Gn "$user" 2>/dev/null)"
    if has_foreign_mark; then fact foreign yes; else fact foreign no; fi
    if [ -n "$console" ]; then look_at_generation; fact generation "$recorded"; fi
    ask_sshd
    fact sshd_served "$served"
    left=$sshd_says
    while [ -n "$left" ]; do
        line=${left%%"$newline"*} left=${left#*"$newline"} key=${line%% *}
        case $key in
            passwordauthentication | permitrootlogin | authenticationmethods | forcecommand | usepam | \
                allowusers | denyusers | allowgroups | denygroups) fact "sshd_$key" "${line#"$key "}" ;;
        esac
    done
    if [ "$kind" = key ] && [ $known = yes ]; then
        sshd_problem
        public=$held like=$held
        first= answer=
        patterns=$all_patterns
        while next_pattern; do
            expand "$pattern" || { [ -n "$problem" ] || problem=keys_elsewhere; break; }
            [ -n "$first" ] || first=$file
            # Where the key stands is what will be edited; a first file without it may be whatever it is.
            [ -n "$held" ] || continue
            with_file find
            if [ "$answer" = done ]; then first=$file; break; fi
        done
        file=$first
        # Where the key stands, trying to put another beside it says the same, below.
        if [ -z "$problem" ] && [ -n "$held" ] && [ "$answer" = done ]; then problem=done
        elif [ -z "$problem" ]; then with_file look; problem=$answer; fi
        if [ -n "$held" ] && [ "$problem" = done ]; then
            with_files try all
            file=$first
            case $answer in
                done)
                    is_loose "$file" || : # asked here, so that the answer is kept
                    tell_lines
                    ;;
                absent) fact key_stands no; if has_key_command; then problem=key_by_command; fi ;;
                *) problem=$answer ;;
            esac
        fi
        if [ "$problem" = done ] && is_loose "$file"; then problem=strict_modes; fi
        fact keys "$problem"
        fact key_path "$file"
        split_look "$(as_reader ls -ldn -- "$file" 2>/dev/null)"
        fact key_look "$mode${owner:+ }$owner"
        part=${file%/*}
        tell_frozen "$part" "$file"
        until [ -d "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
        look_at_space "$(as_reader df -Pk "$part" 2>/dev/null)"
        fact free_keys "$free"
        if [ ! -e /sys/fs/selinux/enforce ]; then fact selinux off
        elif command -v restorecon >/dev/null; then fact selinux on
        else fact selinux bare; fi
    fi
fi
say END
