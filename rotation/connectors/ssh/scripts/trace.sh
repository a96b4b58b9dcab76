# Read what an account's credential looks like from outside. Changes nothing, and says no hash of a password.
# Arguments: nonce, user, console, address, here, editor, kind (password or key).

# The SHA-256 of standard input, in hex, or nothing where the host cannot compute one.
digest() {
    if command -v sha256sum >/dev/null; then sha256sum; else busybox sha256sum; fi 2>/dev/null |
        { read -r sum x && printf '%s\n' "$sum"; }
}

# Nothing to be seen is not the same as nothing there, and a file that is not there is an empty one.
reader='
case $1 in "$2"/*) [ -d "$2" ] || exit 1 ;; esac
if [ -e "$1" ] || [ -L "$1" ]; then [ -f "$1" ] && exec cat -- "$1"; exit 1; fi
part=${1%/*}
until [ -e "$part" ] || [ -L "$part" ]; do part=${part%/*}; [ -n "$part" ] || part=/; done
[ -x "$part" ]'

# The files in which sshd finds the account's keys, one after the other; fails where one cannot be read.
key_files() (
    patterns=$all_patterns
    while next_pattern; do
        expand "$pattern" || exit 1
        is_surely_absent || as_reader sh -c "$reader" sh "$file" "$home" 2>/dev/null || exit 1
    done
)

if [ "$kind" = key ]; then key_account_problem; else account_problem; fi
if [ "$kind" = key ]; then
    ask_sshd
    [ -n "$problem" ] || sshd_problem
fi
fact problem "$problem"
look_at_generation
fact generation "$recorded"
if [ $known = yes ] && [ $shadowed = yes ]; then
    if is_number "$changed"; then fact changed "$changed"; fi
    if [ "$kind" = password ]; then
        fact mark "$(printf '%s\000%s' "$console" "$hash" | digest)"
    elif [ -n "$sshd_says" ] && key_files >/dev/null; then
        fact mark "$({ printf '%s\000' "$console"; key_files; } | digest)"
    fi
fi
say END
