# Look at the host and, where $user is not empty, at that account. Changes nothing.
# Arguments: nonce, user, console, manager, address (of the client, as the host sees it), here, kind (of the credential:
# password or key), editor, held (the public key that the account has now, or nothing).

# Sets $os_name as os-release(5) has it; a value that needs a shell to be read is left to one.
look_at_os_name() {
    os_name=
    [ -r /etc/os-release ] || return 0
    while IFS= read -r line || [ -n "$line" ]; do
        case $line in PRETTY_NAME=*) os_name=${line#*=} ;; esac
    done </etc/os-release
    case $os_name in
        *[\\\$\`]* | *[\"\']*[\"\']*[\"\']*) os_name=$(. /etc/os-release 2>/dev/null && echo "$PRETTY_NAME") ;;
        \"*\" | \'*\') os_name=${os_name#?} os_name=${os_name%?} ;;
    esac
}

machine_id=
IFS= read -r machine_id 2>/dev/null </etc/machine-id
fact machine_id "$machine_id"
look_at_os_name
fact os_name "$os_name"
if command -v chpasswd >/dev/null; then fact chpasswd yes; else fact chpasswd no; fi

# Of a key pair nothing is sent that may not be written down.
if [ -z "$user" ] || [ "$kind" = password ]; then
    look_at_sudo_log "$manager"
    fact sudo_log "$logged"
fi

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
    grep -Eqs '^[^#]*rounds=|^[[:space:]]*(YESCRYPT_COST_FACTOR|BCRYPT_(MIN|MAX)_ROUNDS|SHA_CRYPT_(MIN|MAX)_ROUNDS)' \
        /etc/pam.d/common-password /etc/pam.d/system-auth /etc/pam.d/password-auth /etc/pam.d/chpasswd \
        /etc/pam.d/passwd /etc/login.defs
}

# Tell what a change of the keys needs to know of the daemon, for the change that follows on this connection. What a
# fact cannot hold whole is asked for again then.
tell_for_later() {
    case $sshd_says$all_patterns in *[!"$newline"[:print:]]*) return ;; esac
    count=0
    for key in pubkeyauthentication authorizedkeysfile authorizedkeyscommand usepam; do
        sshd_value $key
        [ ${#value} -le 200 ] || return 0
        [ -n "$value" ] || continue
        count=$((count + 1))
        fact later_sshd "$key $value"
    done
    patterns=$all_patterns
    while next_pattern; do
        [ ${#pattern} -le 200 ] || return 0
        count=$((count + 1))
        fact later_file "$pattern"
    done
    fact later "$count"
}

# Sets $file to the one that will be edited: where the key stands that the account has now, else the first; and $problem to
# done, or to why that cannot be. Where the key stands, what its lines say is told.
find_key_file() {
    answer=absent first='' listed='' first_look='' listed_look=''
    if [ -n "$held" ]; then with_files try all
    else
        patterns=$all_patterns
        while next_pattern; do
            expand "$pattern" || { answer=keys_elsewhere; break; }
            [ -n "$first" ] || first=$file
        done
    fi
    file=${listed:-$first} key_look=$first_look
    [ -z "$listed" ] || key_look=$listed_look
    [ -z "$problem" ] || return 0
    # A first file without the key may be whatever it is, where another one has it.
    if [ -z "$listed" ] && [ "$answer" != keys_elsewhere ]; then
        tried=$answer
        with_file look
        key_look=${told#look=} problem=$answer
        [ "$problem" = done ] || return 0
        answer=$tried
    fi
    case $answer in
        done)
            problem=done
            tell_lines
            ;;
        absent)
            problem=done
            if [ -n "$held" ]; then
                fact key_stands no
                if has_key_command; then problem=key_by_command; fi
            fi
            ;;
        *) problem=$answer ;;
    esac
    if [ "$problem" = done ] && is_loose "$file"; then problem=strict_modes; fi
}

key_folder=
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
    if is_number "$changed" && is_number "$most" && has_come $((changed + most + 1))
    then fact aged yes; else fact aged no; fi
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
    case $newline$sshd_says in
        *"$newline"allowgroups\ * | *"$newline"denygroups\ *) fact groups "$(id -Gn "$user" 2>/dev/null)" ;;
    esac
    if [ "$kind" = key ] && [ $known = yes ]; then
        sshd_problem
        [ -n "$problem" ] || tell_for_later
        public=$held like=$held
        find_key_file
        [ "${has_setpriv-}" != yes ] || fact later_setpriv yes
        fact keys "$problem"
        fact key_path "$file"
        fact key_look "$key_look"
        key_folder=${file%/*}
        tell_frozen "$key_folder" "$file"
        until [ -d "$key_folder" ]; do key_folder=${key_folder%/*}; [ -n "$key_folder" ] || key_folder=/; done
        if [ ! -e /sys/fs/selinux/enforce ]; then fact selinux off
        elif command -v restorecon >/dev/null; then fact selinux on
        else fact selinux bare; fi
    fi
fi
free_kilobytes_of_all "$key_folder"
if can_limit && { [ "$locks" = yes ] || can_lock; }; then fact fenced yes; else fact fenced no; fi
fact free_etc "$free_etc"
fact free_fence "$free_fence"
if [ -n "$key_folder" ]; then
    # Where root may not look, the account may.
    if ! is_number "$free_there"; then
        look_at_space "$(become_reader df -Pk "$key_folder" 2>/dev/null)"
        free_there=$free
    fi
    fact free_keys "$free_there"
fi
say END
