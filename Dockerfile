# One image for web, worker and beat, and one for the proxy before them; docker-compose.yml says which is which.
ARG PYTHON_IMAGE=python:3.11-slim-bookworm
ARG DEBIAN_IMAGE=debian:bookworm-slim

FROM ${DEBIAN_IMAGE} AS proxy
RUN command -v nginx > /dev/null \
    || { apt-get -qq update && apt-get -qq -y --no-install-recommends install nginx-light && rm -rf /var/lib/apt/lists/*; }
COPY .docker/proxy .docker/nginx.conf /etc/keyturn/
USER 10001:10001
EXPOSE 8080 8443
CMD ["sh", "/etc/keyturn/proxy"]

FROM ${PYTHON_IMAGE} AS build
WORKDIR /srv/keyturn
COPY requirements.lock .
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
# --build-arg ROOT_KEYS=true for a root key in a PKCS#11 token, AWS KMS or Alibaba Cloud KMS.
ARG ROOT_KEYS=
COPY requirements-root-keys.lock .
RUN [ -z "$ROOT_KEYS" ] \
    || .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements-root-keys.lock
# --build-arg TRACES=true for traces by OpenTelemetry.
ARG TRACES=
COPY requirements-traces.lock .
RUN [ -z "$TRACES" ] \
    || .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements-traces.lock

FROM ${PYTHON_IMAGE}
# --build-arg KERBEROS=true for management accounts of a Windows domain that log in by Kerberos.
ARG KERBEROS=
RUN [ -z "$KERBEROS" ] || [ -e /usr/lib/*/libgssapi_krb5.so.2 ] \
    || { apt-get -qq update && apt-get -qq -y --no-install-recommends install libgssapi-krb5-2 && rm -rf /var/lib/apt/lists/*; }
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/srv/keyturn/.venv/bin:$PATH \
    KEYTURN_DATA=/var/lib/keyturn KEYTURN_ROOT_KEY_FILE=/run/keyturn/root.key
# A number of its own, above those of any system user: whoever owns a file for it outside knows which.
RUN useradd --uid 10001 --no-create-home --home-dir /var/lib/keyturn --shell /usr/sbin/nologin keyturn \
    && install -d -o keyturn -g keyturn -m 0700 /var/lib/keyturn /run/keyturn
WORKDIR /srv/keyturn
COPY --from=build /srv/keyturn/.venv .venv
COPY . .
USER keyturn
EXPOSE 8000
CMD ["python", "-m", "gunicorn", "-c", "python:console.process.web", "-b", "0.0.0.0:8000"]
