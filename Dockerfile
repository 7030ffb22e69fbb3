# One image, three stages: the command decides.
#   docker build --build-arg COMMIT=$(git rev-parse --short=12 HEAD) -t dodo-customerio .
#   docker run --env-file .env dodo-customerio sink
# A tag is moved to other images. What is released is built from one that nobody can exchange, by its digest of that day:
#   docker buildx imagetools inspect python:3.12-slim --format '{{.Manifest.Digest}}'
#   docker build --build-arg BASE=python:3.12-slim@sha256:... --build-arg COMMIT=... -t dodo-customerio .
# linux/amd64: of faust-streaming there is no wheel for another Linux, and of what others wrote nothing is built here
# (docs/install.md). Our own hot modules are compiled (docs/adr/0022-machine-code.md); --build-arg COMPILE=0: they are not.

ARG BASE=python:3.12-slim

FROM ${BASE} AS build
RUN python -m venv /opt/venv
COPY requirements.lock /tmp/
# Every distribution is a wheel whose hash is checked; nothing of others is built, so nothing unchecked runs.
RUN /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --requirement /tmp/requirements.lock
# The compiler of C and mypyc stay behind in this stage. mypyc reads the types of what is installed beside it.
ARG COMPILE=1
RUN set -eu; if [ "$COMPILE" = 1 ]; then apt-get update; apt-get install --yes --no-install-recommends gcc libc6-dev; fi
COPY requirements-compile.lock /tmp/
RUN python -m venv /build && /build/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --require-hashes \
    --only-binary=:all: --requirement /tmp/requirements.lock --requirement /tmp/requirements-compile.lock
COPY pyproject.toml README.md LICENSE hatch_build.py compile_modules.py /source/
COPY pipeline /source/pipeline
COPY topics /source/topics
# No .git reaches the build: --build-arg COMMIT=$(git rev-parse --short=12 HEAD) is what `dodo-cio --version` says.
ARG COMMIT=
RUN set -eu; cd /source; printf '%s\n' "$COMMIT" > pipeline/_commit.txt; \
    DODO_CIO_COMPILE="$COMPILE" /build/bin/python -m hatchling build -t wheel -d /wheel; \
    /opt/venv/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps --no-index /wheel/*.whl; \
    /opt/venv/bin/dodo-cio --version

FROM ${BASE}
ARG COMMIT=
LABEL org.opencontainers.image.title="dodo-customerio" \
    org.opencontainers.image.description="Every Dodo Payments webhook becomes the right Customer.io operations, on your own Kafka." \
    org.opencontainers.image.version="0.1.0" \
    org.opencontainers.image.revision="$COMMIT" \
    org.opencontainers.image.licenses="Apache-2.0"
RUN useradd --system --uid 10001 --create-home --home-dir /data pipeline
COPY --from=build /opt /opt
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PIPELINE_DATA_DIR=/data PIPELINE_LOG_FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081 8082 9080
# /live fails when there is work and nothing moves; it never depends on Customer.io. A command that is no stage is healthy.
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s CMD ["python", "-m", "pipeline.healthcheck"]
# Exec form: the stage itself gets SIGTERM, and hands over what it has in flight. PID 1 needs an init (`--init`).
ENTRYPOINT ["dodo-cio"]
CMD ["--help"]
