# Become the first process of a host: a new root on tmpfs, with nothing of the old one but /usr.
#
#   unshare --mount --pid --uts --ipc --fork sh boot.sh MOUNTPOINT IMAGE LOWER SIZE MARK FOLDER NAME
#
# MOUNTPOINT is an empty directory, IMAGE a tar of `root/` (the new root) and `usr/` (what lies
# over its /usr), LOWER the overlay's lowerdir for /usr, SIZE the size of the disk. What is
# mounted here is seen by this host alone and vanishes with its last process.
# MARK and FOLDER are here to be read in the list of processes.
# The environment says the rest: BOUNDS, LEASH, HOST_KEY_TYPES, and KEEP, a folder or nothing.
set -eu
umask 022
mountpoint=$1 image=$2 lower=$3 size=$4 name=$7

# /proc is still the outer one, so this is the process id by which the outside knows us.
read -r pid _ < /proc/self/stat

mount -t tmpfs -o "mode=0755,size=$size" lab "$mountpoint"
cd "$mountpoint"
tar --extract --ignore-zeros --numeric-owner --same-owner --preserve-permissions --file "$image"
mkdir -p usr/upper usr/work
mount --bind root root
mount -t overlay -o "lowerdir=$lower,upperdir=usr/upper,workdir=usr/work" lab root/usr
cd root
# The image took these two away, with whatever this machine keeps there.
mkdir -p usr/local/bin usr/local/sbin usr/src
if [ "$KEEP" ]; then
    # The mark is made last: what a start that was interrupted has copied is copied again.
    if [ ! -e "$KEEP/whole" ]; then
        rm -rf "$KEEP/etc" "$KEEP/home" "$KEEP/lib"
        cp -a etc "$KEEP/etc"
        cp -a home "$KEEP/home"
        cp -a var/lib "$KEEP/lib"
        sync
        : > "$KEEP/whole"
    fi
    # The address may be another one this time.
    cp -a etc/ssh/sshd_config "$KEEP/etc/ssh/sshd_config"
    cp -a etc/hosts "$KEEP/etc/hosts"
    mount --bind "$KEEP/etc" etc
    mount --bind "$KEEP/home" home
    mount --bind "$KEEP/lib" var/lib
fi
mount -t proc proc proc
mount -t devpts -o newinstance,gid=5,mode=620,ptmxmode=666 devpts dev/pts
echo "$name" > proc/sys/kernel/hostname
# Root may do what it likes to this host, but not to the kernel that it shares with this machine.
for shared in proc/sys proc/sysrq-trigger; do
    [ ! -e $shared ] || mount -o bind,ro $shared $shared
done
mkdir .outside
pivot_root . .outside
umount -l /.outside
rmdir /.outside
exec /usr/bin/setpriv --clear-groups --bounding-set="$BOUNDS" /bin/sh /init "$pid"
