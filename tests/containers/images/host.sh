#!/bin/sh
# A server of a fleet: sshd, PAM, sudo without a password for the management account, and three accounts.
set -eu
ssh-keygen -A > /dev/null
install -d /run/sshd
id keyturn > /dev/null 2>&1 || useradd --create-home --shell /bin/bash keyturn
install -d -o keyturn -g keyturn -m 0700 /home/keyturn/.ssh
printf 'keyturn ALL=(root) NOPASSWD: ALL\n' > /etc/sudoers.d/keyturn
for name in app deploy dba; do
    id "$name" > /dev/null 2>&1 && continue
    useradd --create-home --shell /bin/bash "$name"
    # Without a usable password a rotation stops: setting one would unlock the account.
    printf '%s:%s\n' "$name" "$(head -c 18 /dev/urandom | base64)" | chpasswd
done
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > /etc/machine-id
exec /usr/sbin/sshd -D -e -o UsePAM=yes -o PasswordAuthentication=yes
