# The service as a container image, and the stock image in it. docs/how-to/docker.md says how to run it.
#
#   docker build -t cellhold .                       the service with the stock image
#   docker build -t cellhold --target service .      the service alone: give it images with -v DIR:/usr/lib/cellhold/images
#
# Both base images are arguments, so that a mirror or an image of your own can replace them. GO needs Go, make and gzip;
# BASE needs a Debian of the suite in images/python/recipe.json.
ARG GO=golang:1.26-trixie
ARG BASE=debian:trixie-slim

# The program. PROGRAM names a file of this folder that was built before, and then nothing is compiled.
FROM ${GO} AS program
ARG PROGRAM=
WORKDIR /src
COPY . .
RUN if [ -n "$PROGRAM" ]; then mkdir -p build/bin && { [ "$PROGRAM" = build/bin/cellhold ] || cp "$PROGRAM" build/bin/cellhold; }; else make build; fi
# Folders of the service: its home, the data and the notebooks.
RUN mkdir -p /service/usr/bin /service/usr/lib/cellhold/images/refs /service/var/lib/cellhold /service/mnt/data /service/mnt/jupyter_sessions /service/tmp /service/etc/ssl/certs \
 && cp build/bin/cellhold /service/usr/bin/cellhold \
 && { cp /etc/ssl/certs/ca-certificates.crt /service/etc/ssl/certs/ 2>/dev/null || echo "the base image has no CA certificates: mount them at /etc/ssl/certs" >&2; } \
 && echo 'root:x:0:0:root:/:/usr/bin/cellhold' > /service/etc/passwd \
 && echo 'cellhold:x:1000:1000:cellhold:/var/lib/cellhold:/usr/bin/cellhold' >> /service/etc/passwd \
 && printf 'root:x:0:\ncellhold:x:1000:\n' > /service/etc/group \
 && chmod 1777 /service/tmp && chmod 711 /service/var/lib/cellhold && chown -R 1000:1000 /service/var/lib/cellhold /service/mnt/jupyter_sessions

# The service alone: one program without a shell.
FROM scratch AS service
COPY --from=program /service /
ENV CELLHOLD_HOME=/var/lib/cellhold \
    CELLHOLD_IMAGES=/usr/lib/cellhold/images \
    CELLHOLD_DATA=/mnt/data \
    CELLHOLD_NOTEBOOKS=/mnt/jupyter_sessions \
    CELLHOLD_LISTEN=0.0.0.0:5000 \
    CELLHOLD_INSECURE_HTTP=true \
    CELLHOLD_DROP_TO=1000:1000 \
    CELLHOLD_URL=http://127.0.0.1:5000
EXPOSE 5000
VOLUME ["/var/lib/cellhold"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s CMD ["/usr/bin/cellhold", "health"]
ENTRYPOINT ["/usr/bin/cellhold"]
CMD ["serve"]

# The files of the stock image, by the script of its recipe.
FROM ${BASE} AS rootfs
COPY images/python /run/build/recipe
COPY docker/rootfs.sh /run/build/
ARG PIP_INDEX_URL
ARG PIP_EXTRA_INDEX_URL
ARG PIP_TRUSTED_HOST
RUN sh /run/build/rootfs.sh
# The recipe's own check, as the user.
RUN setpriv --reuid 1000 --regid 1000 --clear-groups env -i PATH=/usr/local/bin:/usr/bin:/bin HOME=/tmp LC_ALL=C.UTF-8 python3 - < /run/build/recipe/check.py

# The stock image, as the service stores it.
FROM ${BASE} AS stock
COPY --from=program /src/build/bin/cellhold /usr/bin/cellhold
COPY --from=rootfs / /rootfs
RUN cd /rootfs && rm -rf run/build tmp/* etc/apt var/lib/apt var/cache/apt etc/dpkg/dpkg.cfg.d/cellhold etc/resolv.conf .dockerenv \
 && echo cellhold > etc/hostname && printf '127.0.0.1 localhost\n::1 localhost\n' > etc/hosts \
 && cellhold --home /home-of-import --images /images image import --rootfs --name python /rootfs

FROM service
COPY --from=stock /images /usr/lib/cellhold/images
