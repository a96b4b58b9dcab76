# End what an account has open by SSH, with everything that runs in it. Arguments: nonce, user.
#
# A session is a connection that sshd has let in. What runs in it is found by parentage, by the kernel's session, and,
# for what has left both, by the audit session and the scope that login managers give it, where the host has such.
# Everything is stopped before anything is killed: what is stopped starts nothing new.

look_in_passwd
[ $known = yes ] || { account_problem; stop REFUSED "$problem"; }

is_in() { case " $2 " in *" $1 "*) ;; *) false ;; esac; }

# Sets $comm, $state, $parent and $session of a process. Its name may hold anything, so look behind it.
look_at() {
    stat=
    { while IFS= read -r line || [ -n "$line" ]; do stat="$stat$line "; done <"/proc/$1/stat"; } 2>/dev/null
    [ -n "$stat" ] || return 1
    comm=${stat#* (} comm=${comm%) *}
    set -f
    set -- ${stat##*) }
    set +f
    state=$1 parent=$2 session=$4
}

title_of() { tr '\000' ' ' 2>/dev/null <"/proc/$1/cmdline"; }

# Whether a process is the account's own, by its real user id.
is_own() {
    while read -r key owner x; do
        if [ "$key" = Uid: ]; then [ "$owner" = "$uid" ]; return; fi
    done 2>/dev/null <"/proc/$1/status"
    return 1
}

audit_of() {
    read -r id x 2>/dev/null <"/proc/$1/sessionid"
    case $id in 0 | 4294967295) ;; *) echo "$id" ;; esac
}

# The number of the login manager's session that a process is in, as in session-3.scope.
scope_of() {
    while read -r line; do
        case $line in */session-*.scope*)
            line=${line##*/session-} line=${line%%.scope*}
            case $line in '' | *[!0-9c]*) ;; *) echo "$line"; return ;; esac
            ;;
        esac
    done 2>/dev/null <"/proc/$1/cgroup"
}

# We run in a session ourselves, and it is not to be ended.
ours=
pid=$$
while [ "$pid" -gt 1 ] && look_at "$pid"; do ours="$ours $pid" pid=$parent; done

# Sets $table: a line for each process that lives, with its parent and its session.
scan() {
    table=
    for folder in /proc/[0-9]*; do
        pid=${folder#/proc/}
        look_at "$pid" && [ "$state" != Z ] || continue
        table="$table$pid $parent $session
"
        case $comm in sshd*) servers="$servers $pid" ;; esac
    done
}

servers=
scan
count=0 gates= audits= scopes=
for pid in $servers; do
    case $(title_of "$pid") in "sshd: $user@"* | "sshd-session: $user@"*) ;; *) continue ;; esac
    is_own "$pid" && look_at "$pid" || continue
    # Root's part of the connection; for root itself there is only one part.
    case $(title_of "$parent") in "sshd: $user [priv]"* | "sshd-session: $user [priv]"*) ;; *) parent= ;; esac
    if is_in "$pid" "$ours" || { [ -n "$parent" ] && is_in "$parent" "$ours"; }; then continue; fi
    count=$((count + 1))
    gates="$gates $parent $pid" audits="$audits $(audit_of "$pid")" scopes="$scopes $(scope_of "$pid")"
done
[ $count -gt 0 ] || stop ENDED 0

# Whether a process that is nobody's child any more was started in one of the sessions.
was_started_there() {
    audit=$(audit_of "$1") scope=$(scope_of "$1")
    { [ -n "$audit" ] && is_in "$audit" "$audits" || { [ -n "$scope" ] && is_in "$scope" "$scopes"; }; } && is_own "$1"
}

victims= sessions=
# Adds to $victims, stops what it adds, and fails where there was nothing to add.
collect() {
    added=no more=yes
    while [ $more = yes ]; do
        more=no
        while read -r pid parent session; do
            [ -n "$pid" ] && ! is_in "$pid" "$victims $gates $ours" || continue
            if is_in "$parent" "$gates $victims" || is_in "$session" "$sessions"; then
                :
            elif [ "$uid" -eq 0 ] || [ -z "${audits# }${scopes# }" ] || ! was_started_there "$pid"; then
                continue
            fi
            kill -STOP "$pid" 2>/dev/null || continue
            victims="$victims $pid" added=yes more=yes
            # sshd's own session may be the one of every connection.
            if is_in "$session" "$victims"; then sessions="$sessions $session"; fi
        done <<END
$table
END
    done
    [ $added = yes ]
}

lives() { kill -0 "$1" 2>/dev/null && look_at "$1" && [ "$state" != Z ]; }

kill -STOP $gates 2>/dev/null
rounds=0
while collect && [ $rounds -lt 5 ]; do
    rounds=$((rounds + 1))
    scan
done
kill -KILL $victims 2>/dev/null
# sshd is asked first: it then closes what PAM has opened.
kill -TERM $gates 2>/dev/null
kill -CONT $gates 2>/dev/null

rounds=0
while [ $rounds -lt 10 ]; do
    left=
    for pid in $gates $victims; do if lives "$pid"; then left=yes; break; fi; done
    [ -n "$left" ] || break
    sleep 0.1 2>/dev/null || sleep 1
    rounds=$((rounds + 1))
done
for pid in $gates; do
    if lives "$pid"; then case $comm in sshd*) kill -KILL "$pid" 2>/dev/null ;; esac; fi
done
if [ -n "$left" ]; then sleep 1; fi

if [ -d /run/systemd/sessions ] && command -v loginctl >/dev/null; then
    for id in $scopes; do
        if can_limit; then timeout -s KILL 2 loginctl terminate-session "$id" >/dev/null 2>&1 9>&-; fi
    done
fi
for pid in $gates $victims; do if lives "$pid"; then stop FAILED; fi; done
stop ENDED $count
