# Look at the host and, where $user is not empty, at that account. Changes nothing.
# Arguments: nonce, user, console, manager, address (of the client, as the host sees it), here, kind (of the credential:
# password or key), editor, held (the public key that the account has now, or nothing).

fact machine_id "$(head -n 1 /etc/machine-id 2>/dev/null)"
fact os_name "$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME")"
fact free_etc "$(free_kilobytes /etc)"
fact free_fence "$(free_kilobytes /var/lib)"
if can_lock && can_limit; then fact fenced yes; else fact fenced no; fi
if command -v chpasswd >/dev/null; then fact chpasswd yes; else fact chpasswd no; fi

fact sudo_log "$(sudo_log "$manager")"

count=0
while IFS=: read -r name x uid gid gecos home login_shell || [ -n "$name" ]; do
    is_number "$uid" || continue
    [ "$uid" -eq 0 ] || { [ "$uid" -ge 1000 ] && [ "$uid" -lt 65534 ]; } || continue
    case $login_shell in */nologin | */false | */sync) continue ;; esac
    [ $count -lt 100 ] || break
    count=$((count + 1))
    fact account "$name"
done </etc/passwd

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
    if [ "$kind" = key ]; then problem=$(key_account_problem); else problem=$(account_problem); fi
    fact problem "$problem"
    look_in_passwd
    look_in_shadow
    fact shell "$login_shell"
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
        for path in /etc /etc/shadow /etc/nshadow; do if is_frozen "$path"; then fact frozen "$path"; fi; done
        if is_mounted /etc/shadow; then fact mounted /etc/shadow; fi
        if is_slow_to_hash; then fact slow yes; fi
    fi
    today=$(($(date +%s) / 86400))
    if is_number "$changed" && is_number "$most" && [ "$today" -gt $((changed + most)) ]
    then fact aged yes; else fact aged no; fi
    fact groups "$(id -Gn "$user" 2>/dev/null)"
    if [ -n "$(foreign_mark)" ]; then fact foreign yes; else fact foreign no; fi
    if [ -n "$console" ]; then fact generation "$(recorded_generation)"; fi
    ask_sshd
    fact sshd_served "$served"
    printf '%s\n' "$sshd_says" | while read -r key rest; do
        case $key in
            passwordauthentication | permitrootlogin | authenticationmethods | forcecommand | usepam | \
                allowusers | denyusers | allowgroups | denygroups) fact "sshd_$key" "$rest" ;;
        esac
    done
    if [ "$kind" = key ] && [ $known = yes ]; then
        problem=$(sshd_problem)
        public=$held like=$held
        first=
        patterns=$all_patterns
        while next_pattern; do
            expand "$pattern" || { [ -n "$problem" ] || problem=keys_elsewhere; break; }
            [ -n "$first" ] || first=$file
            # Where the key stands is what will be edited; a first file without it may be whatever it is.
            if [ -n "$held" ] && [ "$(with_file find)" = done ]; then first=$file; break; fi
        done
        file=$first
        if [ -z "$problem" ]; then problem=$(with_file look); fi
        if [ -n "$held" ] && [ "$problem" = done ]; then
            stands=$(with_files try all)
            case $stands in
                done) tell_lines ;;
                absent) fact key_stands no; if has_key_command; then problem=key_by_command; fi ;;
                *) problem=$stands ;;
            esac
        fi
        if [ "$problem" = done ] && is_loose "$file"; then problem=strict_modes; fi
        fact keys "$problem"
        fact key_path "$file"
        fact key_look "$(as_reader ls -ldn -- "$file" 2>/dev/null | { read -r mode x owner x; echo "$mode${owner:+ }$owner"; })"
        part=${file%/*}
        for path in "$part" "$file"; do if is_frozen "$path"; then fact frozen "$path"; fi; done
        until [ -d "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
        fact free_keys "$(as_reader df -Pk "$part" 2>/dev/null | { read -r x; read -r x x x free x; echo "$free"; })"
        if [ ! -e /sys/fs/selinux/enforce ]; then fact selinux off
        elif command -v restorecon >/dev/null; then fact selinux on
        else fact selinux bare; fi
    fi
fi
say END
