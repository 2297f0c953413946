# One image for every server of an organisation: waypost run hub|store|access --name NAME. docs/containers.md
FROM python:3.11-slim-bookworm AS build
RUN python3 -m venv /opt/waypost
WORKDIR /src
COPY requirements.lock ./
RUN /opt/waypost/bin/pip install --no-cache-dir --quiet --disable-pip-version-check --require-hashes --no-deps -r requirements.lock
COPY . ./
RUN /opt/waypost/bin/pip install --no-cache-dir --quiet --disable-pip-version-check --no-deps --no-build-isolation . \
 && install -D -m 0644 config/compose.toml /opt/waypost/etc/waypost.toml \
 && /opt/waypost/bin/pip uninstall --quiet --yes setuptools wheel pip

FROM python:3.11-slim-bookworm
# Named volumes take owner and mode from these folders when they are first mounted.
RUN echo 'waypost:x:10001:10001::/var/lib/waypost:/usr/sbin/nologin' >> /etc/passwd \
 && echo 'waypost:x:10001:' >> /etc/group \
 && install -d -m 0750 -o 10001 -g 10001 \
      /var/lib/waypost /var/lib/waypost/certificates /var/lib/waypost/directory
COPY --from=build /opt/waypost /opt/waypost
# Large messages are spooled on the volume: /tmp is memory.
ENV PATH=/opt/waypost/bin:/usr/local/bin:/usr/bin:/bin \
    TMPDIR=/var/lib/waypost \
    WAYPOST_CONFIG=/opt/waypost/etc/waypost.toml
USER 10001:10001
WORKDIR /var/lib/waypost
ENTRYPOINT ["waypost"]
CMD ["--help"]
