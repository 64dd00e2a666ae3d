# syntax=docker/dockerfile:1
# Zapline alone: `zapline run` as a user without rights, for a read-only root file system; its state is in /var/lib/zapline.
FROM python:3.11-slim-trixie AS build
WORKDIR /src
COPY pyproject.toml requirements.lock requirements-run.lock README.md LICENSE NOTICE ./
COPY src src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# What builds the wheel is pinned as well; it stays in this stage.
RUN awk '/^[a-z]/ {keep = /^(hatchling|packaging|pathspec|pluggy|trove-classifiers)==/} keep' requirements.lock >/tmp/build.lock \
 && python -m venv /build && /build/bin/pip install --no-deps --require-hashes -r /tmp/build.lock \
 && /build/bin/pip wheel --no-deps --no-build-isolation -w /wheel .
RUN python -m venv /opt/zapline && /opt/zapline/bin/pip install --no-deps --require-hashes -r requirements-run.lock \
 && /opt/zapline/bin/pip install --no-deps --no-index /wheel/zapline-*.whl \
 && /opt/zapline/bin/python -m compileall -q /opt/zapline/lib && /opt/zapline/bin/pip uninstall -qy pip

FROM python:3.11-slim-trixie
RUN apt-get update && apt-get install -y --no-install-recommends postgresql-client tini \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --user-group --home-dir /var/lib/zapline zapline \
 && install -d -o zapline -g zapline -m 0700 /var/lib/zapline
COPY --from=build /opt/zapline /opt/zapline
# Secrets are files named in lower case (database_url, evolution_api_key), as compose and Kubernetes mount them.
ENV PATH=/opt/zapline/bin:$PATH STATE_DIRECTORY=/var/lib/zapline CREDENTIALS_DIRECTORY=/run/secrets \
    ZAPLINE_BIND=0.0.0.0:8080 ZAPLINE_LOG_FORMAT=json PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
VOLUME /var/lib/zapline
EXPOSE 8080
HEALTHCHECK --interval=15s --timeout=5s --start-period=60s CMD ["python", "-c", \
 "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/readyz', timeout=4)"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["tini", "--", "zapline"]
CMD ["run"]
