FROM golang:1.26 AS build
WORKDIR /src
# Dependencies first: they are downloaded again only when they change.
COPY go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
ENV CGO_ENABLED=0
RUN --mount=type=cache,target=/go/pkg/mod --mount=type=cache,target=/root/.cache/go-build \
    go build -trimpath -ldflags='-s -w' -o /out/gochat ./cmd/gochat \
    && install -d -o 65532 -g 65532 /out/data

# Certificates of public authorities, time zones and the user nonroot (65532); no shell.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/gochat /gochat
COPY --from=build --chown=65532:65532 /out/data /data
USER 65532:65532
# Any user may read it: the base's own working folder is closed to all but nonroot, and a .env is looked for in this one.
WORKDIR /
# For `gochat up`: its data in a folder to mount a volume on, and a listener that a published port reaches.
ENV GOCHAT_DATA=/data GOCHAT_UP_LISTEN=:8080
# 8080: WebSocket and HTTP; 8081: gRPC history; 9090 and 9091: health and metrics of each, on the loopback address unless told otherwise.
EXPOSE 8080 8081 9090 9091
ENTRYPOINT ["/gochat"]
CMD ["help"]
