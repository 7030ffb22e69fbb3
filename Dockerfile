# One image, three stages: the command decides. Build: docker build -t dodo-customerio .
FROM python:3.12-slim AS build
WORKDIR /src
RUN python -m venv /opt/venv
# Hashes are checked; no build runs, every pinned distribution has a wheel for glibc on x86_64.
COPY requirements.lock ./
RUN /opt/venv/bin/pip install --no-cache-dir --no-deps --only-binary=:all: --require-hashes -r requirements.lock
COPY pyproject.toml README.md LICENSE ./
COPY pipeline pipeline
COPY topics topics
RUN pip install --no-cache-dir hatchling==1.33.0 \
 && pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && /opt/venv/bin/pip install --no-cache-dir --no-deps /dist/*.whl

FROM python:3.12-slim
RUN useradd --system --uid 10001 --home-dir /data --create-home pipeline
COPY --from=build /opt/venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PIPELINE_DATA_DIR=/data PIPELINE_LOG_FORMAT=json
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8080 8081 8082
ENTRYPOINT ["dodo-cio"]
CMD ["--help"]
