# Shared by every script: plain POSIX sh for dash, bash and busybox. $nonce and $user are set before it.
# A process costs a host more than all else here, so functions set a variable and print nothing, where they can.

# An inherited SHELLOPTS=xtrace would print the value, allexport would put it into every child's environment,
# and so would a variable of the same name that is exported already.
set +x +v +a
unset value control short said commit script public like hash before today judged walked looked_at has_setpriv problem
umask 077
# A value travels from here to another program's standard input by printf. Where printf is a program and not part of the
# shell, the value would stand in its arguments. A here-document is no way out: some shells write it to a file first.
PATH=/dev/null
printf '' 2>/dev/null && has_printf=yes || has_printf=no
PATH=/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL

newline='
'

# The marker is never written out in a text that we send: a host that only echoes what it hears says nothing.
# Facts wait for what is said next: each line that is written alone is a packet alone.
facts=
say() { printf '%s%s %s\n' "$facts" "$nonce" "$*"; facts=; }
stop() { say "$@"; exit 0; }
fact() { facts=$facts$nonce\ FACT\ $1=$2$newline; }

# Without one of these an answer would be wrong: no id is no other user, and no df no full disk.
for tool in id date df ls cat dd mv rm mkdir chmod; do
    command -v $tool >/dev/null || stop REFUSED no_tool $tool
done

# Sets $effective to the effective user id of this shell.
look_at_self() {
    effective=
    while read -r key x effective x; do if [ "$key" = Uid: ]; then break; fi; done 2>/dev/null </proc/self/status
    [ "$key" = Uid: ] || effective=$(id -u)
}
look_at_self
[ "$effective" = 0 ] || stop REFUSED sudo

[ $has_printf = yes ] || stop REFUSED shell

# Sets $known, $home, $login_shell and $in_passwd, the second field, from /etc/passwd. Not getent(1): it would also answer for a directory,
# and would take an all-digit name for a number.
look_in_passwd() {
    known=no
    while IFS=: read -r name x uid gid gecos home login_shell || [ -n "$name" ]; do
        if [ "$name" = "$user" ]; then known=yes; in_passwd=$x; return; fi
    done </etc/passwd
}

# Sets $shadowed and the fields of the account's line in /etc/shadow. The hash stays in this shell.
look_in_shadow() {
    shadowed=no
    while IFS=: read -r name hash changed least most warn inactive expires x || [ -n "$name" ]; do
        if [ "$name" = "$user" ]; then shadowed=yes; return; fi
    done </etc/shadow
}

# Sets $today to the days since 1970, as /etc/shadow counts them.
look_at_date() { [ -n "${today-}" ] || today=$(($(date +%s) / 86400)); }

# Whether that day has come. One after 2200, as 99999 days of a password lead to, is not asked the date for.
has_come() { [ "$1" -le 84000 ] && look_at_date && [ "$today" -ge "$1" ]; }

# Sets $mode, $owner, $group and $size from a line of ls -ldn.
split_look() {
    set -f
    set -- $1
    set +f
    mode=${1-} owner=${3-} group=${4-} size=${5-}
}

is_number() { case $1 in '' | *[!0-9]*) return 1 ;; esac; }

# Whether $1 is one of the reasons that this run may let pass; $allowed is not given to every script.
is_allowed() { case " ${allowed-} " in *" $1 "*) ;; *) false ;; esac; }

# Whether the host's own files are surely asked first for $1, passwd or shadow: nsswitch.conf(5). What stands in
# brackets may go on to the next source in spite of an answer, and a daemon that remembers answers may have an old one.
files_first() {
    [ ! -e /run/nscd/socket ] && [ ! -e /var/run/nscd/socket ] && [ -r /etc/nsswitch.conf ] || return 1
    first=none
    while read -r key x second third || [ -n "$key" ]; do
        [ "$key" = "$1:" ] || continue
        [ "$first" = none ] && [ "$x" = files ] || return 1 # named twice: which one counts is not asked here
        case $second$third in *[\[\]]*) return 1 ;; esac
        first=files
    done </etc/nsswitch.conf
    [ $first = files ]
}

# Whether another source than this host's own files is asked first about the account (/etc/nsswitch.conf), and
# knows one of that name: what is changed in the files then counts for nothing. Where that cannot be asked, no.
other_source() {
    for database in passwd shadow; do
        ! files_first $database || continue
        ours=$(getent -s files $database "$user" 2>/dev/null) && [ -n "$ours" ] || return 1
        found=$(getent $database "$user" 2>/dev/null) && [ -n "$found" ] || return 1
        [ "$ours" = "$found" ] || return 0
    done
    return 1
}

# Sets $problem to the word for what forbids a change of this account's password, or to nothing, and what
# look_in_passwd and look_in_shadow set. From the files and not from
# passwd -S, whose letters differ between systems. Day 0 of `expires` counts: PAM takes it as expired.
account_problem() {
    problem=
    look_in_passwd
    look_in_shadow
    if [ $known = no ]; then
        case $(getent passwd "$user" 2>/dev/null) in
            "$user":*) problem=not_local ;;
            *) problem=no_such_user ;;
        esac
        return
    fi
    # chpasswd changes the field in /etc/passwd where that holds no x.
    if [ $shadowed = no ] || [ "$in_passwd" != x ]; then problem=not_shadowed; return; fi
    if other_source; then problem=other_source; return; fi
    case $hash in
        '') problem=empty_password; return ;;
        '!'* | '*'*) problem=locked; return ;;
    esac
    if is_number "$expires" && has_come "$expires"; then problem=expired; return; fi
    if is_number "$changed" && [ "$changed" = 0 ]; then problem=must_change; return; fi
    if is_number "$changed" && is_number "$most" && is_number "$inactive" &&
        has_come $((changed + most + inactive + 1)); then
        problem=inactive
    fi
}

# Sets $free to the free kilobytes of the file system that holds $1; to 0 where it is read-only or cannot be told.
free_kilobytes() {
    free=0
    if [ -w "$1" ]; then look_at_space "$(df -Pk "$1" 2>/dev/null)"; fi
    is_number "$free" || free=0
}

# Sets $free_etc and $free_fence to what free_kilobytes says of /etc and of /var/lib, by one process where it can,
# $free_there to the same of the folder $1, if it is given and that process can tell, and $locks to yes where that
# process has taken a lock before, as can_lock does: a flock that knows -F becomes the program that it is given.
free_kilobytes_of_all() {
    free_etc='' free_fence='' free_there='' locks=''
    if [ -w /etc ] && [ -w /var/lib ]; then
        set -f
        IFS=$newline
        spaces=$(exec flock -F -s -n 9 df -Pk /etc /var/lib ${1:+"$1"} 2>/dev/null 9</dev/null)
        case $spaces in
            *"$newline"*) locks=yes ;;
            *) spaces=$(exec df -Pk /etc /var/lib ${1:+"$1"} 2>/dev/null) ;;
        esac
        set -- "$1" $spaces
        unset IFS
        set +f
        # A line for each, in their order, after the headings. One too few does not say of which.
        case $#:$1 in
            4: | 5:?*)
                look_at_space "$newline$3"
                free_etc=$free
                look_at_space "$newline$4"
                free_fence=$free
                look_at_space "$newline${5-}"
                free_there=$free
                ;;
        esac
    fi
    is_number "$free_etc" || { free_kilobytes /etc; free_etc=$free; }
    is_number "$free_fence" || { free_kilobytes /var/lib; free_fence=$free; }
}

# Sets $free from the second line of df -Pk.
look_at_space() {
    case $1 in *"$newline"*) ;; *) free=; return ;; esac
    set -f
    set -- ${1#*"$newline"}
    set +f
    free=${4-}
}

# Tried and not looked up: a busybox may be called flock or timeout and be built without it.
can_lock() { flock -s -n 9 9</dev/null 2>/dev/null; }
can_limit() { [ "$0" = limited ]; } # as it was tried before this script began

# Sets $frozen to those of the paths, one on each line, that chattr(1) has made immutable or append-only: then nobody
# can put another file in their place.
look_for_frozen() {
    frozen= left=$(lsattr -d -- "$@" 2>/dev/null)$newline
    while [ -n "${left%"$newline"}" ]; do
        line=${left%%"$newline"*} left=${left#*"$newline"}
        case ${line%% *} in *[ia]*) frozen=$frozen${line#* }$newline ;; esac
    done
}

# Open $lock for this script and for what it starts. A redirection that fails would end it only where exec makes it.
open_lock() {
    [ -d "$fence_root/$console" ] || mkdir -p "$fence_root/$console" 2>/dev/null || stop REFUSED disk
    [ ! -L "$fence_root" ] && { true >>"$lock"; } 2>/dev/null || stop REFUSED disk
    exec 9>>"$lock"
}

# Take the lock, for some seconds. By turns and not flock -w: busybox has no -w. Without flock there is none.
take_lock() {
    tries=0
    until flock -n 9 2>/dev/null; do
        can_lock || return 0
        tries=$((tries + 1))
        [ $tries -le 2 ] || stop BUSY
        sleep 1
    done
}

# Put $generation into $mark, on the disk. No secret, so it may stand in a text that the shell may write to a file.
write_generation() {
    [ "$generation" != "$recorded" ] || return 0
    dd of="$mark.new" conv=fsync 2>/dev/null <<GENERATION && mv -f "$mark.new" "$mark" && return
$generation
GENERATION
    rm -f "$mark.new"
    return 1
}

# Whether something is mounted just there: then no other file can take its place.
is_mounted() {
    while read -r x x x x point x; do if [ "$point" = "$1" ]; then return; fi; done </proc/self/mountinfo
    return 1
}

fence_root=/var/lib/keyturn

# Whether another console has left a mark for the same credential ($kind: password or key).
has_foreign_mark() {
    for other in "$fence_root"/*/"$user.$kind"; do
        case $other in
            "$fence_root/$console"/*) ;;
            *) if [ -f "$other" ]; then return; fi ;;
        esac
    done
    return 1
}

# Sets $recorded to the generation in the mark of this console; to 0 where there is none, to nothing where it is not a
# number.
look_at_generation() {
    recorded=0
    if [ -f "$fence_root/$console/$user.$kind" ]; then
        read -r recorded <"$fence_root/$console/$user.$kind"
    fi
    is_number "$recorded" || recorded=
}

# Sets $seconds to those since boot: unlike the clock, nobody sets it.
look_at_uptime() {
    read -r seconds x </proc/uptime
    seconds=${seconds%%.*}
}

# Sets $logged to whether sudo writes down what the shells of account $1 read, and so every value that we send: yes,
# no, none where there is no sudo, or nothing where it does not tell.
look_at_sudo_log() {
    if ! command -v sudo >/dev/null; then logged=none; return; fi
    logged=
    rules=$(sudo -n -l -U "$1" 2>/dev/null) && [ -n "$rules" ] || return 0
    case $newline$rules$newline in
        *[" ,$newline"]log_input[" ,$newline"]* | *[" ,$newline"]log_stdin[" ,$newline"]* | *[!A-Z]LOG_INPUT:*)
            logged=yes
            ;;
        *) logged=no ;;
    esac
}
is_written_down() { [ -n "${SUDO_USER:-}" ] && look_at_sudo_log "$SUDO_USER" && [ "$logged" = yes ]; }

# The host's own password check. It makes no session and feeds no counter of failed logins.
find_checker() {
    checker= bound=
    if can_limit; then bound="timeout -s KILL"; fi
    for path in /usr/sbin/unix_chkpwd /sbin/unix_chkpwd /usr/bin/unix_chkpwd; do
        if [ -x "$path" ]; then checker=$path; return; fi
    done
}
# Sets $standing to what the check of passwords stands on, as one number: the programs and libraries of sshd, PAM and
# crypt(3), and their settings. Nothing where that cannot be read: then it is never the same as before. A library is
# looked at under the name that programs ask for: a host has folders of thousands, which a pattern would have read.
look_at_standing() {
    standing=
    command -v sha256sum >/dev/null || return 0
    stats=$(
        set -- "$checker" /usr/sbin/sshd /usr/local/sbin/sshd /usr/lib/openssh/sshd-* /lib/ld-musl-*
        for root in /lib* /usr/lib*; do
            # On most hosts /lib is another name of /usr/lib.
            case $root in
                /usr/*) ;;
                *) if [ "$root" -ef "/usr$root" ] 2>/dev/null; then continue; fi ;;
            esac
            for folder in "$root" "$root"/*-linux-*; do
                [ -d "$folder" ] || continue
                set -- "$@" "$folder/libc.so.6" "$folder/libcrypt.so.1" "$folder/libcrypt.so.1.1" \
                    "$folder/libcrypt.so.2" "$folder/libpam.so.0" "$folder"/security/*.so
            done
        done
        exec stat -L -c '%n %d %i %s %y %z' "$@" /etc/ssh/sshd_config /etc/ssh/sshd_config.d/* /etc/pam.conf \
            /etc/pam.d/* /etc/security/*.conf /etc/login.defs 2>/dev/null
    )
    case $stats in "$checker "*[0-9]) ;; *) return 0 ;; esac
    sum=$(printf '%s\n' "$stats" | sha256sum 2>/dev/null)
    standing=${sum%% *}
}
# 0: right, 7 (PAM_AUTH_ERR): wrong, 137: it took more than $check_seconds, anything else: no verdict. Each check has
# a time of its own: a hash that is made to be slow takes seconds.
check_seconds=6
check() {
    printf '%s\000' "$1" | ${bound:+$bound "$check_seconds"} "$checker" "$user" nonull >/dev/null 2>&1
}
