#!/bin/sh
# Make the root of a plain Debian with what the containers need, once: base.sh FOLDER; prints the tar's path.
# The mirror is this machine's own, as apt has it.
set -eu
folder=$1
packages=ca-certificates,python3,python3-venv,postgresql,redis-server,nginx-light,openssh-server,sudo,iproute2,procps
suite=bookworm
tar=$folder/base-$(printf '%s' "$suite $packages" | sha256sum | cut -c1-12).tar
if [ ! -e "$tar" ]; then
    mkdir -p "$folder"
    root=$(mktemp -d "$folder/root.XXXXXX")
    trap 'rm -rf "$root"' EXIT
    mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 2> /dev/null | sed -n "s/ $suite\$//p" | head -1)
    debootstrap --variant=minbase --include="$packages" "$suite" "$root" "${mirror:-http://deb.debian.org/debian}" > "$folder/debootstrap.log" 2>&1 ||
        { tail -n 5 "$folder/debootstrap.log" >&2; exit 1; }
    rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/* "$root"/etc/apt/sources.list "$root"/etc/ssh/ssh_host_*
    # As the python images name it.
    ln -s /usr/bin/python3 "$root/usr/local/bin/python"
    tar -C "$root" --numeric-owner -cf "$tar.new" .
    mv "$tar.new" "$tar"
fi
printf '%s\n' "$tar"
