# Shared by the scripts that look at the files in which sshd finds an account's public keys.
# Arguments that they all have: nonce, user, address (of the client, as the host sees it), here (the host's own address
# and port for this connection), editor (a script).

cd / # The account may not be allowed to stand where we do.

# Sets $problem to the word for what forbids a login with a key, or to nothing. A password that is locked or empty does
# not; one that must be changed does: sshd then runs no command, whatever the login was made with.
key_account_problem() {
    look_in_passwd
    look_in_shadow
    problem=
    if [ $known = no ] || [ $shadowed = no ]; then account_problem; return; fi
    if is_number "$expires" && has_come "$expires"; then problem=expired; return; fi
    is_number "$changed" || return
    if [ "$changed" = 0 ]; then problem=must_change_first; return; fi
    is_number "$most" && has_come $((changed + most + 1)) || return
    if is_number "$inactive" && has_come $((changed + most + inactive + 1))
    then problem=inactive; else problem=must_change_first; fi
}

# Sets $lines to every line of the configuration that names key files, those of what it includes too, and of an include
# that may lead to a file that is not found.
key_file_lines() {
    naming='
        /^[ \t\r\f\v]*"?[Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Ee][Dd][Kk][Ee][Yy][Ss][Ff][Ii][Ll][Ee]/ { print "line " $0 }
        /^[ \t\r\f\v]*[Ii][Nn][Cc][Ll][Uu][Dd][Ee][^#]*["\\]/ { print "line " $0 }
        tolower($1) == "include" { for (n = 2; n <= NF; n++) { gsub(/"/, "", $n); print "more " $n } }'
    lines='' todo=$config depth=0
    while [ -n "$todo" ] && [ $depth -lt 16 ]; do
        depth=$((depth + 1)) next=
        set --
        for part in $todo; do if [ -f "$part" ]; then set -- "$@" "$part"; fi; done
        [ $# -gt 0 ] || break
        left=$(awk "$naming" "$@" 2>/dev/null)$newline
        while [ -n "$left" ]; do
            line=${left%%"$newline"*} left=${left#*"$newline"}
            case $line in
                'line '*) lines=$lines${line#line }$newline ;;
                'more /'*) next="$next ${line#more }" ;;
                'more '*) next="$next /etc/ssh/${line#more }" ;;
            esac
        done
        todo=$next
    done
    left=$given$newline
    while [ -n "$left" ]; do
        line=${left%%"$newline"*} left=${left#*"$newline"}
        case $line in -*o[Aa]*) line=${line#-*o} ;; esac
        case $line in
            [Aa][Uu][Tt][Hh][Oo][Rr][Ii][Zz][Ee][Dd][Kk][Ee][Yy][Ss][Ff][Ii][Ll][Ee]*) lines=$lines$line$newline ;;
        esac
    done
}

# Sets $all_patterns to those of the files that sshd reads, one on each line. sshd tells them with a blank between each
# two, and does not quote one that holds a blank: that is looked up in its files, and where it stays open nothing is
# said.
look_for_patterns() {
    sshd_value authorizedkeysfile
    all_patterns=$value
    case $all_patterns in *[[:space:]]*) ;; *) return ;; esac
    told=$all_patterns
    key_file_lines
    case $lines in
        *[\"\\\']*) all_patterns=$(quoted_patterns) ;;
        *)
            set -f
            all_patterns=
            for pattern in $told; do all_patterns=$all_patterns$pattern$newline; done
            set +f
            all_patterns=${all_patterns%"$newline"}
            ;;
    esac
}

# The patterns where $lines, which names them, has quotes. $told: how sshd tells them.
quoted_patterns() {
    printf '%s\n' "$lines" | told=$told awk '
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

# Sets $problem to the word for what in sshd's configuration keeps a key in a file from being used, or to nothing.
sshd_problem() {
    problem=
    [ -n "$sshd_says" ] || { problem=no_sshd_answer; return; }
    sshd_value pubkeyauthentication
    [ "$value" = yes ] || { problem=no_public_keys; return; }
    sshd_value authorizedkeysfile
    case $value in '' | none) problem=keys_elsewhere; return ;; esac
    [ -n "$all_patterns" ] || { problem=keys_blank; return; }
    # Without PAM, sshd itself takes a leading ! for an account that nobody may enter.
    sshd_value usepam
    case $value:$hash in no:'!'*) problem=locked_without_pam ;; esac
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

# Whether each of these is root's or that of the account with the id $1, and nobody else may write to it.
are_owned_by() {
    either=$1
    shift
    looks=$(ls -ldn -- "$@" 2>/dev/null) || return 1
    looks=$looks$newline
    for look in "$@"; do
        split_look "${looks%%"$newline"*}"
        looks=${looks#*"$newline"}
        case $owner:$mode in 0:?????-??-* | "$either":?????-??-*) ;; *) return 1 ;; esac
    done
}

# Whether this is root's, and nobody else may write to it. Asked once: what is root's alone, nobody else changes.
is_roots() {
    case ${judged-} in *"$newline$1 yes$newline"*) return 0 ;; *"$newline$1 no$newline"*) return 1 ;; esac
    if are_owned_by 0 "$1"; then judgement=yes; else judgement=no; fi
    judged=${judged-}$newline$1\ $judgement$newline
    [ $judgement = yes ]
}

# Whether some part of a path is surely another account's: told by the shell alone, where it can (test -O).
is_anothers_path() {
    [ -O / ] 2>/dev/null || return 1
    part=$1
    while [ -n "$part" ]; do
        if [ -e "$part" ] && [ ! -O "$part" ]; then return; fi
        part=${part%/*}
    done
    return 1
}

# Whether every part of a path is root's alone. Asked once for each.
is_roots_path() {
    case ${walked-} in *"$newline$1 yes$newline"*) return 0 ;; *"$newline$1 no$newline"*) return 1 ;; esac
    if ! is_anothers_path "$1" && are_all_roots "$1"; then walk=yes; else walk=no; fi
    walked=${walked-}$newline$1\ $walk$newline
    [ $walk = yes ]
}

# Whether every part of a path is root's alone, in whatever spelling: each link is followed as the kernel does, and what
# holds it is judged before what it leads to. Only there may root work: an account that may make a link could have
# root put the key into root's own file, whose whole path is root's as well. What is not there yet is root's to make.
are_all_roots() {
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

# Whether setpriv(1) is there and knows what is asked of it.
has_setpriv() {
    if [ -z "${has_setpriv-}" ]; then
        if setpriv --reuid "$uid" --regid "$gid" --init-groups true 2>/dev/null
        then has_setpriv=yes; else has_setpriv=no; fi
    fi
    [ $has_setpriv = yes ]
}

# Run a command as the account and with nothing of root's. setpriv first: it opens no session and writes no log.
as_account() {
    if has_setpriv
    then setpriv --reuid "$uid" --regid "$gid" --init-groups "$@"
    else sudo -n -u "$user" -- "$@"
    fi
}

# Run a command that reads $file: as the account, or as root where root alone decides what the path leads to.
as_reader() {
    if is_roots_path "$file"; then "$@"; elif [ "$uid" -eq 0 ]; then return 1; else as_account "$@"; fi
}

# As `as_reader`, in a command substitution, which becomes the command.
become_reader() {
    if is_roots_path "$file"; then exec "$@"; elif [ "$uid" -eq 0 ]; then exit 1; fi
    if has_setpriv; then exec setpriv --reuid "$uid" --regid "$gid" --init-groups "$@"; fi
    exec sudo -n -u "$user" -- "$@"
}

# Whether no such file can be there: what root may search, it sees as it is.
is_surely_absent() { [ ! -e "$file" ] && [ ! -L "$file" ] && [ -x "${file%/*}" ]; }

# Have $editor do $1 with $file; set $answer to its one word and $told to the lines before it. It gets no descriptor of
# the lock. A command substitution that holds nothing but a program costs one process, and not four.
with_file() {
    told=
    case $1 in find | try | twin | remove) if is_surely_absent; then answer=absent; return; fi ;; esac
    if is_roots_path "$file"; then
        answer=$(exec sh -c "$editor" sh "$1" "$file" "$home" "$uid" 0 "$public" "$like" 9>&- </dev/null 2>/dev/null)
    elif [ "$uid" -eq 0 ]; then
        answer=path
    else
        answer=
        # What only looks tells by its answer whether setpriv does what is asked of it.
        case ${has_setpriv-}:$1 in
            :find | :try | :look) edit_by_setpriv "$1"; [ -z "$answer" ] || has_setpriv=yes ;;
        esac
        if [ -n "$answer" ]; then :
        elif has_setpriv; then edit_by_setpriv "$1"
        else
            answer=$(exec sudo -n -u "$user" -- sh -c "$editor" sh "$1" "$file" "$home" "$uid" "$uid" "$public" "$like" \
                9>&- </dev/null 2>/dev/null)
        fi
    fi
    case $answer in *"$newline"*) told=${answer%"$newline"*} answer=${answer##*"$newline"} ;; esac
}
edit_by_setpriv() {
    answer=$(exec setpriv --reuid "$uid" --regid "$gid" --init-groups \
        sh -c "$editor" sh "$1" "$file" "$home" "$uid" "$uid" "$public" "$like" 9>&- </dev/null 2>/dev/null)
}

# Have $editor do $1 with each file that sshd reads, and set $answer to the first word that is none of absent and done,
# else to the best one; $first to the first of the files, $listed to the first that holds the key, with $first_look and
# $listed_look to their mode and owner, and $key_lines to the facts of the key's lines. With `first` as $2, only the
# first file is looked at: the one to which keys are added.
with_files() {
    best=absent first='' listed='' key_lines='' first_look='' listed_look=''
    patterns=$all_patterns
    while next_pattern; do
        expand "$pattern" || { answer=keys_elsewhere; return; }
        with_file "$1"
        keep_told
        case $answer in
            absent) ;;
            done) best=done ;;
            *) answer=${answer:-script}; return ;;
        esac
        [ "$2" != first ] || break
    done
    answer=$best
}

# Whether no more than one of the files that sshd reads can be there.
has_one_file() {
    patterns=$all_patterns there=0
    while next_pattern; do
        expand "$pattern" || return 1
        is_surely_absent || there=$((there + 1))
    done
    [ $there -le 1 ]
}

# Keep what $editor told of $file: of the key's lines, and of the file's mode and owner.
keep_told() {
    [ -n "$first" ] || first=$file
    seen=
    while [ -n "$told" ]; do
        line=${told%%"$newline"*}
        case $told in *"$newline"*) told=${told#*"$newline"} ;; *) told= ;; esac
        case $line in
            look=*) seen=${line#look=} ;;
            key_options=*)
                [ -n "$listed" ] || listed=$file
                key_lines=$key_lines"in=$file$newline$line$newline"
                ;;
            key_from=* | key_until=*) key_lines=$key_lines$line$newline ;;
        esac
    done
    [ "$file" != "$first" ] || first_look=$seen
    [ "$file" != "$listed" ] || listed_look=$seen
}

# Whether sshd would leave a file unread for who may write to it (sshd_config(5), StrictModes). Asked once.
is_loose() {
    case ${looked_at-} in *"$newline$1 yes$newline"*) return 0 ;; *"$newline$1 no$newline"*) return 1 ;; esac
    if may_be_written_to "$1"; then answer_to=yes; else answer_to=no; fi
    looked_at=${looked_at-}$newline$1\ $answer_to$newline
    [ $answer_to = yes ]
}
may_be_written_to() {
    sshd_value strictmodes
    [ "$value" = yes ] && [ -e "$1" ] || return 1
    resolve "$1"
    part=$resolved
    [ -n "$part" ] || return 1
    resolve "$home"
    top=$resolved
    case $part in "$top"/*) ;; *) top=/ ;; esac
    set -- "$part"
    until [ "$part" = "$top" ] || [ "$part" = / ]; do
        part=${part%/*}
        [ -n "$part" ] || part=/
        set -- "$@" "$part"
    done
    ! are_owned_by "$uid" "$@"
}

# Sets $resolved to where a path leads, as readlink -f says it: itself, if it is spelled as the kernel would and no part
# of it is a link.
resolve() {
    resolved=$1 rest=$1
    case $1 in *//* | */./* | */../* | */. | */.. | */ | [!/]*) rest='' resolved='' ;; esac
    while [ -n "$rest" ]; do
        if [ -L "$rest" ]; then rest='' resolved=''; fi
        rest=${rest%/*}
    done
    [ -n "$resolved" ] || resolved=$(readlink -f -- "$1" 2>/dev/null)
}

# Say what the options of each line of the key are, as with_files has gathered them, and what time it is where one of
# them has an end.
tell_lines() {
    case $key_lines in
        *key_until=[!"$newline"]*)
            now=$(date '+%Y%m%d%H%M%S %s')
            fact now_local "${now% *}"
            fact now_seconds "${now#* }"
            ;;
    esac
    sshd_value usedns
    fact use_dns "$value"
    while [ -n "$key_lines" ]; do
        line=${key_lines%%"$newline"*} key_lines=${key_lines#*"$newline"}
        case $line in
            in=*) if is_loose "${line#in=}"; then fact key_loose yes; else fact key_loose no; fi ;;
            *) fact "${line%%=*}" "${line#*=}" ;;
        esac
    done
}

# Whether sshd asks a program for keys as well: what it may say of one, and with which options, is not to be known.
has_key_command() {
    sshd_value authorizedkeyscommand
    case $value in '' | none) return 1 ;; esac
}
