# syntax=docker/dockerfile:1
# The agent alone: one static binary, the public certificate authorities, a user. No shell, no package manager, no library.
#   docker build -t network-agent .
#   docker buildx build --platform linux/amd64,linux/arm64 -t network-agent .

# Built on the builder's own architecture for whichever is wanted: emulation takes ten times as long.
FROM --platform=$BUILDPLATFORM docker.io/library/rust:1.95-bookworm AS build
ARG TARGETARCH=amd64
WORKDIR /source
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ca-certificates libcap2-bin libpcap-dev >/dev/null \
 && case "$TARGETARCH" in amd64) rustup target add x86_64-unknown-linux-gnu ;; arm64) rustup target add aarch64-unknown-linux-gnu ;; esac

# Dependencies have a layer of their own: it stays as long as these files do.
COPY scripts/static.sh scripts/profiled.sh scripts/profiled-rustc.sh scripts/
COPY Cargo.toml Cargo.lock ./
RUN mkdir -p src benches/cost \
 && echo 'fn main() {}' | tee src/main.rs benches/cost/main.rs $(sed -n '/^\[\[bench\]\]/,/^$/s/^name = "\(.*\)"/benches\/\1.rs/p' Cargo.toml) >/dev/null \
 && touch src/lib.rs \
 && scripts/static.sh "$TARGETARCH" plain >/dev/null \
 && scripts/profiled.sh tools "$TARGETARCH" \
 && rm -r src benches

COPY . .
# Cargo goes by times, and the files that stood in for the sources are newer than some of them.
RUN find src benches -name '*.rs' -exec touch {} + \
 && binary=$(scripts/static.sh "$TARGETARCH") \
 && mkdir -p /image/etc/ssl/certs /image/usr/local/bin \
 && cp "$binary" /image/usr/local/bin/network-agent \
 && cp /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ \
 && printf 'root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n' >/image/etc/passwd \
 && printf 'root:x:0:\nnonroot:x:65532:\n' >/image/etc/group \
# Permitted and not effective: the program raises it to open its sockets and gives it up. Where the container may not have it,
# the program starts and says so; with "ep" it would not start.
 && setcap cap_net_raw=p /image/usr/local/bin/network-agent

FROM scratch
ARG VERSION=1.0.0
LABEL org.opencontainers.image.title="network-agent" \
      org.opencontainers.image.description="Sees the HTTP traffic of a machine from its packets and sends every exchange as an OpenTelemetry span" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="$VERSION"
COPY --from=build /image/ /
USER 65532:65532
# Nothing may stand between: a shell would lose the capability.
ENTRYPOINT ["/usr/local/bin/network-agent"]
