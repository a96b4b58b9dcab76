# Look at one file of public keys, or change what it says of one key. Runs as the account itself, or as root where
# the whole path is root's. Arguments: what to do; the file; the account's home and user id; the user id it runs as.
# Standard input: the public key, and on the next line the one that it is to stand beside.
#
# look: could the file be edited? find: does the key stand in it? lines: what do the options of its lines say?
# add: a line of its own. twin: behind each line of the other key, the same line with this one. try: could twin be
# done? remove: every line of the key.
#
# Says one word: done, absent, or why not; `lines` says facts before it. Every other line stays as it is, byte for
# byte: a whole new file is written beside the old one, measured, put on the disk, and only then given its name.

set +x +v +a
umask 077
end() { echo "$1"; exit 0; }

action=$1 file=$2 home=$3 account=$4 runs_as=$5
IFS= read -r public && IFS= read -r like || end script
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
# The lines of one key with another in its place, where they are not there yet; with all=yes every line of the file.
twins='
NR == FNR { is_there[$0] = 1; next }
ENVIRON["all"] == "yes" { print }
at = place($0, ENVIRON["wanted"]) {
    rest = substr($0, at)
    sub(/^[^ \t]+[ \t]+[^ \t\r]+/, "", rest)
    twin = substr($0, 1, at - 1) ENVIRON["public"] rest
    if (!(twin in is_there)) { is_there[twin] = 1; print twin }
}'
# Values go by the environment: awk would read escapes in an assignment.
holds() { wanted=${1#* } awk "$program"'place($0, ENVIRON["wanted"]) { found = 1; exit } END { exit !found }' <"$real"; }
size_of() { echo $(($(wc -c <"$1"))); }
# Sets $look to its mode, owner and group, and $look_size. A + at the mode says that an access list belongs to it: without
# it the mode alone would give the group what the list gives to others.
look_at() {
    set -f
    set -- $(ls -ldn -- "$1")
    set +f
    look="${1%[.@]} ${3-} ${4-}" look_size=${5-}
}
sum_of() { if [ -e "$1" ]; then cksum <"$1"; fi; }

command -v awk >/dev/null || end no_awk
case $file in "$home"/*) [ -d "$home" ] || end no_home ;; esac
if [ -e "$file" ] || [ -L "$file" ]; then
    # A link stays a link: what it leads to is edited.
    real=$(readlink -f -- "$file") && [ -f "$real" ] || end path
    [ -r "$real" ] || end unreadable
    is_there=yes
else
    # Nothing to be seen is not the same as nothing there.
    part=$folder
    until [ -e "$part" ] || [ -L "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
    [ -x "$part" ] || end unreadable
    is_there=no
fi

if [ $is_there = yes ]; then
    case $action in
        find) if holds "$public"; then end done; else end absent; fi ;;
        lines)
            wanted=${public#* } awk "$program$options" <"$real"
            end done
            ;;
        add) if holds "$public"; then end done; fi ;;
        try | twin) holds "$like" || end absent ;;
        remove) holds "$public" || end absent ;;
    esac
    look_at "$real"
    case $look in *" $runs_as "*) ;; *) end unwritable ;; esac
    [ -w "$real" ] || end unwritable
    before=$look size=$look_size
    ending=0
    [ "$size" -eq 0 ] || [ -z "$(tail -c 1 "$real")" ] || ending=1 # 1: the last line is not ended
else
    case $action in find | lines | try | twin | remove) end absent ;; esac
    # A folder that root would have to make is one that is not mounted now: nothing is put in its place.
    if [ ! -d "$folder" ]; then
        [ "$runs_as" = "$account" ] || end no_home
        [ -d "${folder%/*}" ] && [ -w "${folder%/*}" ] || end unwritable
        [ "$action" = look ] && end done
        mkdir -m 700 -- "$folder" || end unwritable
    fi
    size=0 ending=0
fi
folder=${real%/*}
[ -w "$folder" ] || end unwritable
case $action in look | try) end done ;; esac
if [ "$action" = twin ]; then
    added=$(wanted=${like#* } public=$public all=no awk "$program$twins" "$real" "$real" | wc -c)
    [ "$added" -gt 0 ] || end done
fi

temp=$real.keyturn
give_up() { rm -f -- "$temp"; end "$1"; }
rm -f -- "$temp" || end unwritable
sum=$(sum_of "$real")
if [ $is_there = yes ]; then
    # The mode, and what else belongs to the file, comes along with a copy of it.
    cp -p -- "$real" "$temp" || give_up disk
    look_at "$temp"
    [ "$look" = "$before" ] || give_up unwritable
    source=$real
else
    : >"$temp" || give_up disk
    # sshd reads it as the account, and root's umask would hide it.
    [ "$runs_as" = "$account" ] || chmod 0644 "$temp" || give_up disk
    source=/dev/null
fi

if [ "$action" = add ]; then
    { awk '{ print }' <"$source" && printf '%s keyturn\n' "$public"; } | dd of="$temp" conv=fsync || give_up disk
    expected=$((size + ending + $(printf '%s keyturn\n' "$public" | wc -c)))
elif [ "$action" = twin ]; then
    wanted=${like#* } public=$public all=yes awk "$program$twins" "$source" "$source" |
        dd of="$temp" conv=fsync || give_up disk
    expected=$((size + ending + added))
else
    removed=$(wanted=${public#* } ending=$ending awk "$program"'
        { last = place($0, ENVIRON["wanted"]); if (last) n += length($0) + 1 }
        END { print n - (last && ENVIRON["ending"] ? ENVIRON["ending"] : 0) }' <"$source")
    wanted=${public#* } ending=$ending awk "$program"'
        place($0, ENVIRON["wanted"]) { next }
        any { print held }
        { held = $0; any = 1; last = NR }
        END { if (any) printf "%s%s", held, (ENVIRON["ending"] == 1 && last == NR) ? "" : "\n" }
        ' <"$source" | dd of="$temp" conv=fsync || give_up disk
    expected=$((size - removed))
fi
[ "$(size_of "$temp")" -le "$expected" ] || give_up odd_file
# Shorter than it must be: a full disk, or a NUL at which some awks end a line.
[ "$(size_of "$temp")" -eq "$expected" ] || give_up disk
# Somebody who knows nothing of our lock may have changed it meanwhile.
[ "$(sum_of "$real")" = "$sum" ] || give_up changed
mv -f -- "$temp" "$real" || give_up unwritable
sync "$folder" || true
if command -v restorecon >/dev/null; then restorecon "$real" || true; fi
end done
