# Look at one file of public keys, or change what it says of one key. Runs as the account itself, or as root where
# the whole path is root's. Arguments: what to do; the file; the account's home and user id; the user id it runs as; the
# public key; the one that it is to stand beside.
#
# look: could the file be edited? find: does the key stand in it? add: a line of its own. twin: behind each line of the
# other key, the same line with this one. try: could twin be done? remove: every line of the key.
#
# Says one word on its last line: done, absent, or why not. Before it: `find` and `try` say what the options of the key's
# lines say, and `look` and `try` what mode and owner the file has. Every other line stays as it is, byte for byte: a
# whole new file is written beside the old one, measured, put on the disk, and only then given its name.

set +x +v +a
umask 077
LC_ALL=C # a length is one in bytes
export LC_ALL
end() { echo "$1"; exit 0; }

action=$1 file=$2 home=$3 account=$4 runs_as=$5 public=$6 like=$7
folder=${file%/*} real=$file

# A key stands after its options, which may hold blanks in quotes; sshd(8), AUTHORIZED_KEYS FILE FORMAT.
program='
function place(line, blob,    at, c, quoted, word) {
    if (blob == "" || !index(line, blob) || !(at = match(line, /[^ \t]/))) return 0
    if (substr(line, at, 1) == "#") return 0
    if (substr(line, at) !~ /^(ssh-|ecdsa-|sk-)[^ \t"=,]*[ \t]/) {
        for (; at <= length(line); at++) {
            c = substr(line, at, 1)
            if (c == "\\" && substr(line, at + 1, 1) == "\"") { at++; continue }
            if (c == "\"") quoted = !quoted
            else if (!quoted && (c == " " || c == "\t")) break
        }
        while (substr(line, at, 1) ~ /[ \t]/) at++
    }
    split(substr(line, at), word, /[ \t]+/)
    sub(/\r$/, "", word[2])
    return word[2] == blob ? at : 0
}
'
# The lines of a key, three facts for each: the names of all options, and the values of two. No other value leaves
# the host: a command or an environment may hold anything.
options='
function told(name, value) { gsub(/[^ -~]/, "?", value); print name "=" substr(value, 1, 250) }
at = place($0, ENVIRON["wanted"]) {
    names = from = until = name = ""; value = quoted = 0; text = substr($0, 1, at - 1) ","
    sub(/^[ \t]+/, "", text); sub(/[ \t]+,$/, ",", text)
    for (n = 1; n <= length(text); n++) {
        c = substr(text, n, 1)
        if (c == "\\" && substr(text, n + 1, 1) == "\"") { c = "\""; n++ }
        else if (c == "\"") { quoted = !quoted; continue }
        else if (!quoted && c == "=" && !value) { value = 1; content = ""; continue }
        else if (!quoted && c == ",") {
            name = tolower(name); names = names (names == "" ? "" : ",") name
            if (value && name == "from") from = content
            if (value && name == "expiry-time" && (until == "" || content < until)) until = content
            name = ""; value = 0; continue
        }
        if (value) content = content c; else name = name c
    }
    told("key_options", names); told("key_from", from); told("key_until", until)
}'
# The file with what is to be done. It is read twice: first to see what there is to do, then to do it. ENVIRON["mode"] says
# whether to `write` it to ENVIRON["temp"], to `check` what has been written there, or to `count` only. Says absent or done
# where nothing is to be done; else how many bytes it becomes longer, how many the file has as lines, and whether its last
# line goes; behind that, of a check, `same` where nothing differs.
changes='
function put(line,    read) {
    if (mode == "check") { if ((getline read <temp) < 1 || read "" != line "") differs = 1 }
    else if (action == "remove" && ENVIRON["ending"] == 1 && FNR == lines) printf "%s", line >temp
    else print line >temp
}
BEGIN { action = ENVIRON["action"]; mode = ENVIRON["mode"]; temp = ENVIRON["temp"]; public = ENVIRON["public"] }
NR == FNR {
    is_there[$0] = 1; bytes += length($0) + 1; lines = FNR
    if (!(at = place($0, ENVIRON["wanted"]))) next
    found = 1
    if (action == "remove") { goes[FNR] = 1; longer -= length($0) + 1 }
    if (action != "twin") next
    rest = substr($0, at)
    sub(/^[^ \t]+[ \t]+[^ \t\r]+/, "", rest)
    twin = substr($0, 1, at - 1) public rest
    twins[FNR] = twin
    next
}
FNR == 1 {
    needed = action == "remove" ? found : !found && action == "add"
    for (n in twins) if (!(twins[n] in is_there)) needed = 1
    if (!needed || mode == "count") exit
    if (mode == "write") printf "" >temp
}
!(FNR in goes) { put($0) }
FNR in twins {
    twin = twins[FNR]
    if (twin in is_there) next
    is_there[twin] = 1
    longer += length(twin) + 1
    put(twin)
}
END {
    if (action == "add" && !found) {
        needed = 1; longer = length(public " keyturn") + 1
        if (mode != "count") put(public " keyturn")
    }
    if (!found && action != "add") print "absent"
    else if (!needed) print "done"
    else {
        if (mode == "check" && (getline read <temp) > 0) differs = 1
        print longer + 0, bytes + 0, (lines in goes) + 0 (mode != "check" ? "" : differs ? " differs" : " same")
    }
}'
# Values go by the environment: awk would read escapes in an assignment. For a command substitution, which becomes awk.
change() {
    mode=$1
    if [ "$action" = twin ]; then wanted=${like#* }; else wanted=${public#* }; fi
    export mode action temp ending public wanted
    exec awk "$program$changes" "$source" "$source" 2>/dev/null
}
# Whether a path is spelled as the kernel would and no part of it is a link: then it leads to itself.
is_plain() {
    case $1 in *//* | */./* | */../* | */. | */.. | */) return 1 ;; esac
    part=$1
    while [ -n "$part" ]; do
        [ ! -L "$part" ] || return 1
        part=${part%/*}
    done
}
# Sets $look to its mode, owner and group, and $look_size. A + at the mode says that an access list belongs to it: without
# it the mode alone would give the group what the list gives to others.
look_at() {
    set -f
    set -- $1
    set +f
    shown="${1-} ${3-}" look="${1%[.@]} ${3-} ${4-}" look_size=${5-}
}

command -v awk >/dev/null || end no_awk
case $file in "$home"/*) [ -d "$home" ] || end no_home ;; esac
if [ -e "$file" ] || [ -L "$file" ]; then
    # A link stays a link: what it leads to is edited.
    is_plain "$file" || real=$(readlink -f -- "$file") || end path
    [ -f "$real" ] || end path
    [ -r "$real" ] || end unreadable
    is_there=yes
else
    # Nothing to be seen is not the same as nothing there.
    part=$folder
    until [ -e "$part" ] || [ -L "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
    [ -x "$part" ] || end unreadable
    is_there=no
fi

temp=$real.keyturn ending=0 source=$real
if [ $is_there = yes ]; then
    case $action in
        find)
            lines=$(wanted=${public#* } awk "$program$options" <"$real") && [ -n "$lines" ] || end absent
            printf '%s\n' "$lines"
            end done
            ;;
        try)
            lines=$(wanted=${like#* } awk "$program$options" <"$real") && [ -n "$lines" ] || end absent
            printf '%s\n' "$lines"
            ;;
    esac
    case $action in
        look | try)
            look_at "$(ls -ldn -- "$real")"
            echo "look=$shown"
            case $look in *" $runs_as "*) ;; *) end unwritable ;; esac
            ;;
    esac
    folder=${real%/*}
    if [ ! -w "$real" ] || [ ! -w "$folder" ]; then
        case $action in look | try) end unwritable ;; esac
        counted=$(change count)
        case $counted in absent | done) end "$counted" ;; *) end unwritable ;; esac
    fi
else
    case $action in find | try | twin | remove) end absent ;; esac
    # A folder that root would have to make is one that is not mounted now: nothing is put in its place.
    if [ ! -d "$folder" ]; then
        [ "$runs_as" = "$account" ] || end no_home
        [ -d "${folder%/*}" ] && [ -w "${folder%/*}" ] || end unwritable
        [ "$action" = look ] && end done
        mkdir -m 700 -- "$folder" || end unwritable
    fi
    folder=${real%/*} source=/dev/null
    [ -w "$folder" ] || end unwritable
fi
case $action in look | try) end done ;; esac

give_up() {
    if [ -e "$temp" ]; then rm -f -- "$temp"; fi
    end "$1"
}
if [ -e "$temp" ] || [ -L "$temp" ]; then rm -f -- "$temp" || end unwritable; fi

# Put the changed file into $temp and on the disk, and set $counted to what was counted, $before and $size to how the
# file itself looks, and $look and $look_size to how the new one does.
write_lines() {
    counted=$(change write) || { [ -e "$temp" ] || exit 1; give_up disk; }
    case $counted in absent | done) give_up "$counted" ;; esac
    dd if=/dev/null of="$temp" conv=notrunc,fsync || give_up disk
    size=0
    if [ $is_there = yes ]; then
        looks=$(ls -ldn -- "$real" "$temp")
        look_at "${looks%%"$newline"*}"
        before=$look size=$look_size
        look_at "${looks#*"$newline"}"
    else
        look_at "$(ls -ldn -- "$temp")"
    fi
}
newline='
'
write_lines
if [ $is_there = yes ]; then
    case $before in *" $runs_as "*) ;; *) give_up unwritable ;; esac
    if [ "$before" = "-rw-r--r-- ${look#* }" ] && [ "$look" = "-rw------- ${before#* }" ]; then
        chmod 0644 "$temp" || give_up unwritable
        look=$before
    fi
    if [ "$look" != "$before" ]; then
        # Its mode is another one, or the folder gives new files a group or an access list of its own: a copy has all of it.
        rm -f -- "$temp"
        cp -p -- "$real" "$temp" || give_up disk
        write_lines
        [ "$look" = "$before" ] || give_up unwritable
    fi
elif [ "$runs_as" != "$account" ]; then
    # sshd reads it as the account, and root's umask would hide it.
    chmod 0644 "$temp" || give_up disk
fi

# awk ends each line, and so counts one byte too many where the last one is not ended. A NUL it may not count at all.
total=${counted#* } last_goes=${counted##* }
total=${total% *}
if [ "$total" != "$size" ] && [ "$size" -ne 0 ] && [ -n "$(tail -c 1 "$real")" ]; then
    ending=1
    [ "$action" != remove ] || [ "$last_goes" = 1 ] || write_lines
fi
expected=$((size + ${counted%% *}))
# What has no line end of its own gets one, or was counted with one.
case $ending$action$last_goes in 1add* | 1twin* | 1remove1) expected=$((expected + 1)) ;; esac
# Somebody who knows nothing of our lock may have changed it meanwhile.
checked=$(change check) || give_up changed
[ "${checked% *}" = "$counted" ] || give_up changed
[ "$look_size" -le "$expected" ] || give_up odd_file
# Shorter than it must be: a full disk, or a NUL at which some awks end a line.
[ "$look_size" -eq "$expected" ] || give_up disk
[ "${checked##* }" = same ] || give_up changed
if [ $is_there = no ]; then if [ -e "$real" ] || [ -L "$real" ]; then give_up changed; fi; fi
mv -f -- "$temp" "$real" || give_up unwritable
sync "$folder" || true
if command -v restorecon >/dev/null; then restorecon "$real" || true; fi
end done
