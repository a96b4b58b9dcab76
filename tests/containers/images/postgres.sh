#!/bin/sh
# As the public image starts: a cluster of POSTGRES_USER with the password in POSTGRES_PASSWORD_FILE, once.
set -eu
cluster=/var/lib/postgresql/data
install -d -o postgres -g postgres -m 0700 "$cluster"
install -d -o postgres -g postgres /var/run/postgresql
as() { setpriv --reuid=postgres --regid=postgres --init-groups "$@"; }
if [ ! -e "$cluster/PG_VERSION" ]; then
    install -o postgres -m 0400 "$POSTGRES_PASSWORD_FILE" /tmp/password
    as initdb --username="$POSTGRES_USER" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust \
        --encoding=UTF8 --locale=C.UTF-8 "$cluster" > /dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >> "$cluster/pg_hba.conf"
    as pg_ctl -D "$cluster" -o "-c listen_addresses=''" -w start > /dev/null
    as createdb -U "$POSTGRES_USER" "$POSTGRES_DB"
    as pg_ctl -D "$cluster" -m fast -w stop > /dev/null
fi
exec setpriv --reuid=postgres --regid=postgres --init-groups postgres -D "$cluster" -c listen_addresses='*'
