# Shared by the scripts that look at the files in which sshd finds an account's public keys.
# Arguments that they all have: nonce, user, address (of the client, as the host sees it), editor (a script).

cd / # The account may not be allowed to stand where we do.

# The word for what forbids a login with a key, or nothing. A password that is locked or empty does not; one
# that must be changed does: sshd then runs no command, whatever the login was made with.
key_account_problem() {
    look_in_passwd
    look_in_shadow
    if [ $known = no ] || [ $shadowed = no ]; then account_problem; return; fi
    today=$(($(date +%s) / 86400))
    if is_number "$expires" && [ "$today" -ge "$expires" ]; then echo expired; return; fi
    is_number "$changed" || return
    if [ "$changed" = 0 ]; then echo must_change_first; return; fi
    is_number "$most" && [ "$today" -gt $((changed + most)) ] || return
    if is_number "$inactive" && [ "$today" -gt $((changed + most + inactive)) ]
    then echo expired; else echo must_change_first; fi
}

# Sets $sshd_says to sshd's configuration as it applies to this account, Match blocks included.
ask_sshd() { sshd_says=$(sshd -T -C "user=$user,host=$address,addr=$address" 2>/dev/null); }

sshd_value() {
    printf '%s\n' "$sshd_says" | while read -r key rest; do
        if [ "$key" = "$1" ]; then printf '%s\n' "$rest"; break; fi
    done
}

# The word for what in sshd's configuration keeps a key in a file from being used, or nothing.
sshd_problem() {
    [ -n "$sshd_says" ] || { echo no_sshd_answer; return; }
    [ "$(sshd_value pubkeyauthentication)" = yes ] || { echo no_public_keys; return; }
    case $(sshd_value authorizedkeysfile) in '' | none) echo keys_elsewhere; return ;; esac
    # Without PAM, sshd itself takes a leading ! for an account that nobody may enter.
    case $(sshd_value usepam):$hash in no:'!'*) echo locked_without_pam ;; esac
}

# Sets $file from one of sshd's patterns: sshd_config(5), TOKENS of AuthorizedKeysFile.
expand() {
    left=$1 file=
    while :; do
        case $left in
            *%*)
                file=$file${left%%\%*} left=${left#*%}
                case $left in
                    h*) file=$file$home ;;
                    u*) file=$file$user ;;
                    U*) file=$file$uid ;;
                    %*) file=$file% ;;
                    *) return 1 ;;
                esac
                left=${left#?}
                ;;
            *) file=$file$left; break ;;
        esac
    done
    case $file in /*) ;; *) file=$home/$file ;; esac
}

# Whether this is root's, and nobody else may write to it.
is_roots() {
    ls -ldn -- "$1" 2>/dev/null | { read -r mode x owner x; case $owner:$mode in 0:?????-??-*) ;; *) false ;; esac; }
}

# Whether every part of a path is root's alone, and none is a link. Only there may root work: an account that may
# make a link could have root put the key into root's own file, whose whole path is root's as well.
is_roots_path() {
    part=$1
    until [ -e "$part" ] || [ -L "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
    [ "$(readlink -f -- "$part" 2>/dev/null)" = "$part" ] || return 1
    while is_roots "$part"; do
        [ "$part" != / ] || return 0
        part=${part%/*}
        [ -n "$part" ] || part=/
    done
    return 1
}

# Run a command as the account and with nothing of root's. setpriv first: it opens no session and writes no log.
as_account() {
    if setpriv --reuid "$uid" --regid "$gid" --init-groups true 2>/dev/null
    then setpriv --reuid "$uid" --regid "$gid" --init-groups "$@"
    else sudo -n -u "$user" -- "$@"
    fi
}

# Run a command that reads $file: as the account, or as root where root alone decides what the path leads to.
as_reader() {
    if is_roots_path "$file"; then "$@"; elif [ "$uid" -eq 0 ]; then return 1; else as_account "$@"; fi
}

# Have $editor do $1 with $file; says its one word. It gets no descriptor of the lock.
with_file() {
    if is_roots_path "$file"; then
        printf '%s\n%s\n' "$public" "$like" | sh -c "$editor" sh "$1" "$file" "$home" "$uid" 9>&- 2>/dev/null
    elif [ "$uid" -eq 0 ]; then
        echo path
    else
        printf '%s\n%s\n' "$public" "$like" | as_account sh -c "$editor" sh "$1" "$file" "$home" "$uid" 9>&- 2>/dev/null
    fi
}

# Have $editor do $1 with each file that sshd reads; says the first word that is none of absent and done, else the
# best one. With `first` as $2, only the first file is looked at: the one to which keys are added.
with_files() {
    said=absent
    set -f
    for pattern in $(sshd_value authorizedkeysfile); do
        expand "$pattern" || { echo keys_elsewhere; return; }
        answer=$(with_file "$1")
        case $answer in
            absent) ;;
            done) said=done ;;
            *) echo "${answer:-script}"; return ;;
        esac
        [ "$2" != first ] || break
    done
    echo "$said"
}

# Whether sshd would leave a file unread for who may write to it (sshd_config(5), StrictModes).
is_loose() {
    [ "$(sshd_value strictmodes)" = yes ] && [ -e "$1" ] || return 1
    part=$(readlink -f -- "$1" 2>/dev/null) && [ -n "$part" ] || return 1
    top=$(readlink -f -- "$home" 2>/dev/null)
    case $part in "$top"/*) ;; *) top=/ ;; esac
    while :; do
        ls -ldn -- "$part" 2>/dev/null | {
            read -r mode x owner x
            case $owner:$mode in 0:?????-??-* | "$uid":?????-??-*) ;; *) false ;; esac
        } || return 0
        [ "$part" != "$top" ] && [ "$part" != / ] || return 1
        part=${part%/*}
        [ -n "$part" ] || part=/
    done
}

# Say what the options of each line of $public are, in every file that sshd reads, and what time it is.
tell_lines() (
    fact now_local "$(date +%Y%m%d%H%M%S)"
    fact now_utc "$(date -u +%Y%m%d%H%M%S)"
    fact use_dns "$(sshd_value usedns)"
    like=
    set -f
    for pattern in $(sshd_value authorizedkeysfile); do
        expand "$pattern" || continue
        if is_loose "$file"; then loose=yes; else loose=no; fi
        with_file lines | while read -r told; do
            case $told in
                key_options=*) fact key_loose "$loose"; say FACT "$told" ;;
                key_from=* | key_until=*) say FACT "$told" ;;
            esac
        done
    done
)

# Whether sshd asks a program for keys as well: what it may say of one, and with which options, is not to be known.
has_key_command() { case $(sshd_value authorizedkeyscommand) in '' | none) return 1 ;; esac; }
