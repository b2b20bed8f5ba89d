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
# The INT8 form, by samples of one's own where CALIBRATION names them. Where it cannot be made, the original stands in its
# place: the image is built, serves that, and says so.
ARG CALIBRATION=models/digits/frames
RUN target/release/edge-service quantize --or-original --model models/digits/model.onnx \
    --output /tree/app/models/model_int8.onnx --calibration "$CALIBRATION" --limit 64

FROM ${BASE}
COPY --from=builder /tree /
# Paths in a configuration start here; a model of one's own is mounted below models/.
WORKDIR /app
ENV EDGE_SERVICE__SERVER__LISTEN=0.0.0.0:8080 EDGE_SERVICE__SERVER__STATE_DIRECTORY=/var/lib/edge-service
# The box qualifies the INT8 form all the same, and says in its status when that fails here.
ENV EDGE_SERVICE_QUANTIZED_MODEL_PATH=/app/models/model_int8.onnx EDGE_SERVICE_USE_QUANTIZED_MODEL=true
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=120s --retries=3 CMD ["edge-service", "health"]
ENTRYPOINT ["edge-service"]
CMD ["run"]
