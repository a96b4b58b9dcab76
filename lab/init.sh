# Run a host as its first process, until its leash is let go or somebody kills it.
#
# On a leash, stdin is the reading end of a pipe whose other end is held by the process that
# started this host and by no other: its end, however violent, is the end of this host.
set -eu
pid=$1 leash=$LEASH types=$HOST_KEY_TYPES
unset BOUNDS LEASH HOST_KEY_TYPES KEEP
exec 3<&0 < /dev/null

for type in $types; do
    # A host that keeps its /etc has its keys already.
    [ ! -e "/etc/ssh/ssh_host_${type}_key" ] || continue
    ssh-keygen -q -t "$type" -N '' -C "$(cat /etc/hostname)" -f "/etc/ssh/ssh_host_${type}_key"
done
/usr/sbin/sshd -D -E /var/log/sshd.log 3<&- &
sshd=$!
# The pid file is written once the socket listens.
until [ -s /run/sshd.pid ]; do
    kill -0 $sshd 2> /dev/null || { cat /var/log/sshd.log >&2; exit 1; }
    sleep 0.02
done
echo "up $pid"

exec > /dev/null 2>&1
if [ "$leash" = yes ]; then
    (read -r _ <&3) &
else
    sleep infinity 3<&- &
fi
exec 3<&-
# While it waits it also collects the orphans of this host.
wait $!
