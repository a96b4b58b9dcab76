# Shared by the scripts that look at the files in which sshd finds an account's public keys.
# Arguments that they all have: nonce, user, address (of the client, as the host sees it), here (the host's own address
# and port for this connection), editor (a script).

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

newline='
'

# Sets $daemon to the program of the sshd that serves this very connection and $given to the words it was started
# with, one on each line: from the topmost ancestor of this process that is an sshd. $served is no where none tells:
# its listener is gone, or something else started it. Then it is guessed at, and the configuration is the usual one.
find_daemon() {
    daemon='' given='' served=no process=$$
    while is_number "$process" && [ "$process" -gt 0 ]; do
        program=$(readlink "/proc/$process/exe" 2>/dev/null)
        program=${program% (deleted)}
        case $program in
            */sshd)
                daemon=$program served=no
                title=$(tr '\000' '\n' <"/proc/$process/cmdline" 2>/dev/null)
                case $title in
                    'sshd: '*' [listener]'*) # what sshd makes of its own words: a blank between each two
                        title=${title#sshd: }
                        given=$(printf '%s\n' "${title%% \[listener\]*}" | tr ' ' '\n') served=yes
                        ;;
                    /*) given=$title served=yes ;;
                esac
                ;;
        esac
        process=$(while read -r key value x; do if [ "$key" = PPid: ]; then echo "$value"; fi; done \
            <"/proc/$process/status" 2>/dev/null)
    done
    for program in "$daemon" /usr/sbin/sshd /usr/local/sbin/sshd /sbin/sshd; do
        if [ -n "$program" ] && [ -x "$program" ]; then daemon=$program; return; fi
    done
}

# Says the daemon's configuration as it applies to a login as the account over this connection. $1: what is told of
# the connection.
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
    "$daemon" -T -C "$told" "$@" 2>/dev/null
}

# Sets $sshd_says to the daemon's configuration as it applies to this account, Match blocks included, and from it
# $all_patterns, one on each line. An old sshd knows no rdomain.
ask_sshd() {
    find_daemon
    sshd_says='' all_patterns=''
    [ -n "$daemon" ] || return 0
    client="user=$user,host=$address,addr=$address" whole=
    [ -z "$here" ] || whole="$client,laddr=${here% *},lport=${here#* }"
    for told in "${whole:+$whole,rdomain=}" "$whole" "$client"; do
        [ -n "$told" ] || continue
        sshd_says=$(dump_sshd "$told")
        [ -z "$sshd_says" ] || break
    done
    config=$(printf '%s\n' "$given" | while read -r word; do
        case $word in -*f) IFS= read -r value && echo "$value" ;; -f?*) echo "${word#-f}" ;; esac; done)
    config=${config:-/etc/ssh/sshd_config}
    all_patterns=$(key_patterns)
}

# Every line of the configuration that names key files, those of what it includes too.
key_file_lines() (
    todo=$config depth=0
    while [ -n "$todo" ] && [ $depth -lt 16 ]; do
        depth=$((depth + 1)) next=
        for part in $todo; do
            [ -f "$part" ] || continue
            grep -iE '^[[:space:]]*"?AuthorizedKeysFile' -- "$part" 2>/dev/null
            grep -iE '^[[:space:]]*include[^#]*["\\]' -- "$part" 2>/dev/null # it may lead to a file that is not found
            included='tolower($1) == "include" { for (n = 2; n <= NF; n++) { gsub(/"/, "", $n); print $n } }'
            for more in $(awk "$included" "$part"); do
                case $more in /*) ;; *) more=/etc/ssh/$more ;; esac
                next="$next $more"
            done
        done
        todo=$next
    done
    printf '%s\n' "$given" | grep -iE '^(-[a-zA-Z]*o)?AuthorizedKeysFile' | sed 's/^-[a-zA-Z]*o//'
)

# The patterns of the files that sshd reads, one on each line. sshd tells them with a blank between each two, and does
# not quote one that holds a blank: that is looked up in its files, and where it stays open nothing is said.
key_patterns() {
    told=$(sshd_value authorizedkeysfile)
    quoted=$(key_file_lines | grep '["\\'"']")
    if [ -z "$quoted" ]; then printf '%s\n' "$told" | tr -s ' \t' '\n\n'; return; fi
    key_file_lines | told=$told awk '
    {
        text = $0; gsub(/\r$/, "", text); sub(/^[ \t]*"?[A-Za-z]+"?[ \t]*=?[ \t]*/, "", text)
        list = joined = word = quote = ""; has = 0
        for (n = 1; n <= length(text) + 1; n++) {
            c = substr(text, n, 1)
            if (c == "\\" && (d = substr(text, n + 1, 1)) ~ /["\047\\ ]/ && (d != " " || quote == "")) {
                word = word d; has = 1; n++; continue
            }
            if (quote != "" && c == quote) { quote = ""; continue }
            if (quote == "" && c ~ /["\047]/ && c != "") { quote = c; has = 1; continue }
            if (quote == "" && c == "#" && !has) break
            if (c == "" || (quote == "" && c ~ /[ \t]/)) {
                if (has) { list = list word "\n"; joined = joined (joined == "" ? "" : " ") word }
                word = ""; has = 0
                continue
            }
            word = word c; has = 1
        }
        if (joined != ENVIRON["told"]) next
        if (found != "" && found != list) two = 1
        found = list
    }
    END {
        if (!two && found != "") printf "%s", found
        else if (!two && ENVIRON["told"] == ".ssh/authorized_keys .ssh/authorized_keys2")
            print ".ssh/authorized_keys\n.ssh/authorized_keys2"
    }'
}

# Sets $pattern to the first of $patterns, and takes it off; fails where there is none.
next_pattern() {
    [ -n "$patterns" ] || return 1
    pattern=${patterns%%"$newline"*}
    case $patterns in *"$newline"*) patterns=${patterns#*"$newline"} ;; *) patterns= ;; esac
}

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
    [ -n "$all_patterns" ] || { echo keys_blank; return; }
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

# Whether every part of a path is root's alone, in whatever spelling: each link is followed as the kernel does, and what
# holds it is judged before what it leads to. Only there may root work: an account that may make a link could have
# root put the key into root's own file, whose whole path is root's as well. What is not there yet is root's to make.
is_roots_path() {
    left=$1 plain='' links=0
    while [ -n "$left" ]; do
        part=${left%%/*}
        case $left in */*) left=${left#*/} ;; *) left= ;; esac
        case $part in
            '' | .) continue ;;
            ..) plain=${plain%/*}; continue ;;
        esac
        is_roots "${plain:-/}" || return 1
        if [ -L "$plain/$part" ]; then
            links=$((links + 1))
            target=$(readlink -- "$plain/$part") && [ -n "$target" ] && [ $links -le 40 ] || return 1
            case $target in /*) plain= ;; esac
            left=$target${left:+/$left}
        elif [ -e "$plain/$part" ]; then
            plain=$plain/$part
        else
            case /$left/ in */../*) return 1 ;; esac
            return 0
        fi
    done
    is_roots "${plain:-/}"
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
    patterns=$all_patterns
    while next_pattern; do
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
    patterns=$all_patterns
    while next_pattern; do
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
