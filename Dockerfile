# One image for web, worker and beat; docker-compose.yml says which it is.
FROM python:3.11-slim-bookworm AS build
WORKDIR /srv/keyturn
COPY requirements.lock .
RUN python -m venv .venv \
    && .venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --require-hashes --no-deps -r requirements.lock

FROM python:3.11-slim-bookworm
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PATH=/srv/keyturn/.venv/bin:$PATH \
    KEYTURN_DATA=/var/lib/keyturn KEYTURN_ROOT_KEY_FILE=/run/keyturn/root.key
RUN useradd --system --uid 10001 --home-dir /var/lib/keyturn --shell /usr/sbin/nologin keyturn \
    && install -d -o keyturn -g keyturn -m 0700 /var/lib/keyturn /run/keyturn
WORKDIR /srv/keyturn
COPY --from=build /srv/keyturn/.venv .venv
COPY . .
USER keyturn
EXPOSE 8000
CMD ["python", "-m", "gunicorn", "-c", "python:console.web", "-b", "0.0.0.0:8000"]
