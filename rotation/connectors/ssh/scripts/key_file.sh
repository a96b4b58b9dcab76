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
# The lines of one key with another in its place, where they are not there yet: print says whether to print them, behind
# each line of the file, or to print how many bytes they are and how many the file has as lines; nothing where there is
# no line of that key.
twins='
NR == FNR { is_there[$0] = 1; bytes += length($0) + 1; next }
ENVIRON["print"] == "yes" { print }
at = place($0, ENVIRON["wanted"]) {
    any = 1
    rest = substr($0, at)
    sub(/^[^ \t]+[ \t]+[^ \t\r]+/, "", rest)
    twin = substr($0, 1, at - 1) ENVIRON["public"] rest
    if (twin in is_there) next
    is_there[twin] = 1
    added += length(twin) + 1
    if (ENVIRON["print"] == "yes") print twin
}
END { if (any && ENVIRON["print"] != "yes") print added + 0, bytes }'
# What is left without the lines of one key, or how many bytes they are, how many the file has as lines, and whether the
# last one is among them; nothing where there is no such line.
others='
{ last = place($0, ENVIRON["wanted"]); bytes += length($0) + 1 }
last { removed += length($0) + 1; next }
ENVIRON["print"] == "yes" { if (any) print held; held = $0; any = NR }
END {
    if (ENVIRON["print"] != "yes") { if (removed) print removed, bytes, (last ? 1 : 0) }
    else if (any) printf "%s%s", held, (ENVIRON["ending"] == 1 && any == NR) ? "" : "\n"
}'
# Values go by the environment: awk would read escapes in an assignment.
holds() { wanted=${1#* } awk "$program"'place($0, ENVIRON["wanted"]) { found = 1; exit } END { exit !found }' <"$real"; }
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
    set -- $(ls -ldn -- "$1")
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

added='' removed='' total='' ends_here=''
if [ $is_there = yes ]; then
    case $action in
        find)
            lines=$(wanted=${public#* } awk "$program$options" <"$real") && [ -n "$lines" ] || end absent
            printf '%s\n' "$lines"
            end done
            ;;
        add) if holds "$public"; then end done; fi ;;
        try)
            lines=$(wanted=${like#* } awk "$program$options" <"$real") && [ -n "$lines" ] || end absent
            printf '%s\n' "$lines"
            ;;
        twin)
            counted=$(wanted=${like#* } public=$public print=no awk "$program$twins" "$real" "$real")
            [ -n "$counted" ] || end absent
            added=${counted% *} total=${counted#* }
            ;;
        remove)
            counted=$(wanted=${public#* } print=no awk "$program$others" <"$real")
            [ -n "$counted" ] || end absent
            removed=${counted%% *} total=${counted#* } ends_here=${counted##* }
            total=${total% *}
            ;;
    esac
    look_at "$real"
    case $action in look | try) echo "look=$shown" ;; esac
    case $look in *" $runs_as "*) ;; *) end unwritable ;; esac
    [ -w "$real" ] || end unwritable
    before=$look size=$look_size
else
    case $action in find | try | twin | remove) end absent ;; esac
    # A folder that root would have to make is one that is not mounted now: nothing is put in its place.
    if [ ! -d "$folder" ]; then
        [ "$runs_as" = "$account" ] || end no_home
        [ -d "${folder%/*}" ] && [ -w "${folder%/*}" ] || end unwritable
        [ "$action" = look ] && end done
        mkdir -m 700 -- "$folder" || end unwritable
    fi
    size=0
fi
folder=${real%/*}
[ -w "$folder" ] || end unwritable
case $action in look | try) end done ;; esac
[ "$added" != 0 ] || end done

# Sets $ending to 1 where the last line is not ended.
look_at_ending() {
    ending=0
    # awk ends each line, and so counts one byte too many then. A NUL it may not count at all.
    if [ "$total" = "$size" ]; then return; fi
    [ "$size" -eq 0 ] || [ -z "$(tail -c 1 "$real")" ] || ending=1
}
look_at_ending

temp=$real.keyturn
give_up() { rm -f -- "$temp"; end "$1"; }
if [ -e "$temp" ] || [ -L "$temp" ]; then rm -f -- "$temp" || end unwritable; fi
# The mode, and what else belongs to the file, comes along with a copy of it.
copy() {
    is_copied=yes
    cp -p -- "$real" "$temp" || give_up disk
}
is_copied=no
if [ $is_there = yes ]; then
    sum=$(cksum <"$real")
    source=$real
    # A new file is most often the same but for what it holds; it is looked at below.
    case $before in
        '-rw------- '*) ;;
        '-rw-r--r-- '*) umask 022 ;;
        *) copy ;;
    esac
else
    : >"$temp" || give_up disk
    # sshd reads it as the account, and root's umask would hide it.
    [ "$runs_as" = "$account" ] || chmod 0644 "$temp" || give_up disk
    source=/dev/null
fi

# Put the new lines into $temp, and set $expected to how many bytes they are.
write_lines() {
    if [ "$action" = add ]; then
        { awk '{ print }' <"$source" && printf '%s keyturn\n' "$public"; } | dd of="$temp" conv=fsync || give_up disk
        expected=$((size + ending + $(printf '%s keyturn\n' "$public" | wc -c)))
    elif [ "$action" = twin ]; then
        wanted=${like#* } public=$public print=yes awk "$program$twins" "$source" "$source" |
            dd of="$temp" conv=fsync || give_up disk
        expected=$((size + ending + added))
    else
        wanted=${public#* } ending=$ending print=yes awk "$program$others" <"$source" |
            dd of="$temp" conv=fsync || give_up disk
        expected=$((size - removed))
        # What has no line end of its own was counted with one.
        [ "$ending$ends_here" != 11 ] || expected=$((expected + 1))
    fi
    look_at "$temp"
}
write_lines
if [ $is_there = yes ] && [ "$look" != "$before" ]; then
    # The folder gives new files a group or an access list of its own.
    [ $is_copied = no ] || give_up unwritable
    rm -f -- "$temp"
    copy
    write_lines
    [ "$look" = "$before" ] || give_up unwritable
fi
[ "$look_size" -le "$expected" ] || give_up odd_file
# Shorter than it must be: a full disk, or a NUL at which some awks end a line.
[ "$look_size" -eq "$expected" ] || give_up disk
# Somebody who knows nothing of our lock may have changed it meanwhile.
if [ $is_there = yes ]; then [ "$(cksum <"$real")" = "$sum" ] || give_up changed
elif [ -e "$real" ] || [ -L "$real" ]; then give_up changed; fi
mv -f -- "$temp" "$real" || give_up unwritable
sync "$folder" || true
if command -v restorecon >/dev/null; then restorecon "$real" || true; fi
end done
