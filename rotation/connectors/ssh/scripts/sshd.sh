# Shared by the scripts that ask what sshd's configuration says of an account.
# Arguments that they all have: nonce, user, kind (password or key), address (of the client, as the host sees it), here (the
# host's own address and port for this connection).

# Sets $daemon to the program of the sshd that serves this very connection and $given to the words it was started
# with, one on each line: from the topmost ancestor of this process that is an sshd. $served is no where none tells:
# its listener is gone, or something else started it. Then it is guessed at, and the configuration is the usual one.
find_daemon() {
    daemon='' given='' served=no process=$$ ancestors=''
    while is_number "$process" && [ "$process" -gt 0 ]; do
        name='' parent=''
        while read -r key value x; do
            case $key in Name:) name=$value ;; PPid:) parent=$value; break ;; esac
        done 2>/dev/null <"/proc/$process/status"
        case $name in
            sh | dash | bash | busybox | sudo | timeout | systemd | init) ;; # none of ours is asked after, nor the first
            *) ancestors="$process $ancestors" ;;
        esac
        process=$parent
    done
    for process in $ancestors; do
        if [ "/proc/$process/exe" -ef /usr/sbin/sshd ] 2>/dev/null; then program=/usr/sbin/sshd
        else program=$(readlink "/proc/$process/exe" 2>/dev/null) program=${program% (deleted)}; fi
        case $program in */sshd) ;; *) continue ;; esac
        daemon=$program
        # A shell reads no NUL, and what sshd writes over its words has none in between. Its words as they were have.
        title=
        IFS= read -r title 2>/dev/null <"/proc/$process/cmdline"
        case $title in 'sshd: '*) ;; *) title=$(tr '\000' '\n' <"/proc/$process/cmdline" 2>/dev/null) ;; esac
        case $title in
            'sshd: '*' [listener]'*) # what sshd makes of its own words: a blank between each two
                title=${title#sshd: }
                title=${title%% \[listener\]*} served=yes
                while :; do
                    given=$given${title%% *}$newline
                    case $title in *' '*) title=${title#* } ;; *) break ;; esac
                done
                given=${given%"$newline"}
                ;;
            /*) given=$title served=yes ;;
        esac
        break
    done
    for program in "$daemon" /usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd; do
        if [ -n "$program" ] && [ -x "$program" ]; then daemon=$program; return; fi
    done
}

# Says the daemon's configuration as it applies to a login as the account over this connection, and ends the shell.
# $1: what is told of the connection.
dump_sshd() {
    set -f
    IFS=$newline
    set -- "$1" $given
    unset IFS
    set +f
    told=$1
    shift
    [ $# -eq 0 ] || shift # the program
    count=$#
    # Its options are turned round once, and those that say what is in force are kept.
    while [ "$count" -gt 0 ]; do
        word=$1
        shift
        count=$((count - 1))
        case $word in
            -*[fohc]) # the value is the next word
                [ "$count" -gt 0 ] || break
                set -- "$@" "-${word##"${word%?}"}" "$1"
                shift
                count=$((count - 1))
                ;;
            -[foh]?*) set -- "$@" "$word" ;;
            -*[CEgkbpu]) [ "$count" -eq 0 ] || { shift; count=$((count - 1)); } ;;
            -*) ;;
            *) set -- "$@" "$word" ;; # a blank in a value: sshd refuses it, and nothing is known
        esac
    done
    exec "$daemon" -T -C "$told" "$@" 2>/dev/null
}

# A shell searches a long text slowly, so little is kept of it.
keep_what_matters() {
    sshd_says=
    set -f
    IFS=$newline
    set -- $1
    unset IFS
    set +f
    for line in "$@"; do
        case $line in
            passwordauthentication\ * | pubkeyauthentication\ * | permitrootlogin\ * | authenticationmethods\ * | \
                forcecommand\ * | usepam\ * | usedns\ * | strictmodes\ * | allowusers\ * | denyusers\ * | \
                allowgroups\ * | denygroups\ * | authorizedkeysfile\ * | authorizedkeyscommand\ *)
                sshd_says=$sshd_says$line$newline
                ;;
        esac
    done
}

# Sets $sshd_says to what matters here of the daemon's configuration as it applies to this account, Match blocks
# included, and from it $all_patterns, one on each line. An old sshd knows no rdomain.
ask_sshd() {
    find_daemon
    sshd_says='' all_patterns=''
    [ -n "$daemon" ] || return 0
    client="user=$user,host=$address,addr=$address" whole=
    [ -z "$here" ] || whole="$client,laddr=${here% *},lport=${here#* }"
    for told in "${whole:+$whole,rdomain=}" "$whole" "$client"; do
        [ -n "$told" ] || continue
        keep_what_matters "$(dump_sshd "$told")"
        [ -z "$sshd_says" ] || break
    done
    config='' word='' left=$given$newline
    while [ -n "$left" ]; do
        value=${left%%"$newline"*} left=${left#*"$newline"}
        case $word in
            -*f) config=$value word='' ;; # the value of the word before
            *)
                word=$value
                case $word in -f?*) config=${word#-f} ;; esac
                ;;
        esac
    done
    config=${config:-/etc/ssh/sshd_config}
    [ "$kind" = password ] || look_for_patterns
}

# Sets $value to what the daemon says of $1, which it writes in small letters.
sshd_value() {
    value=
    case $newline$sshd_says in
        *"$newline$1 "*) value=$newline$sshd_says value=${value#*"$newline$1 "} value=${value%%"$newline"*} ;;
    esac
}
