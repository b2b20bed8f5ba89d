# The image: built from source, with ONNX Runtime and the shipped model. docs/install.md says how it is run.
ARG BUILDER=rust:1-bookworm
ARG BASE=debian:bookworm-slim

FROM ${BUILDER} AS builder
WORKDIR /src
RUN python3 -c 'import ensurepip, venv' 2>/dev/null || \
    { apt-get update && apt-get install --yes --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
COPY scripts/fetch-runtime scripts/
RUN scripts/fetch-runtime
COPY . .
# What `edge-service --version` names.
ARG COMMIT
RUN EDGE_SERVICE_COMMIT=$COMMIT cargo build --release --locked
RUN mkdir -p /tree/app/models /tree/usr/share/doc/edge-service/onnxruntime && \
    install -D -m 755 target/release/edge-service /tree/usr/bin/edge-service && \
    install -D -m 644 .runtime/libonnxruntime.so /tree/usr/lib/edge-service/libonnxruntime.so && \
    install -m 644 LICENSE /tree/usr/share/doc/edge-service/ && \
    install -m 644 .runtime/*/LICENSE .runtime/*/ThirdPartyNotices.txt /tree/usr/share/doc/edge-service/onnxruntime/ && \
    cp -r models/digits /tree/app/models/ && \
    install -d -o 10001 -g 10001 -m 700 /tree/var/lib/edge-service

FROM ${BASE}
COPY --from=builder /tree /
# Paths in a configuration start here; a model of one's own is mounted below models/.
WORKDIR /app
ENV EDGE_SERVICE__SERVER__LISTEN=0.0.0.0:8080 EDGE_SERVICE__SERVER__STATE_DIRECTORY=/var/lib/edge-service
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 CMD ["edge-service", "health"]
ENTRYPOINT ["edge-service"]
CMD ["run"]
