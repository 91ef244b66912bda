# The appliance as an image that holds one static binary and nothing else.
#
#   docker build -t bootlace .
#   docker run --network host -v /srv/boot:/srv/boot:ro -v bootlace:/var/lib/bootlace \
#       bootlace serve --root /srv/boot
#
# DHCP needs the host's own network: broadcasts do not pass Docker's bridge.
FROM golang:1.26-bookworm AS build
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
ARG TARGETARCH=amd64
# The same build, with the same flags, as that of the firmware.
RUN go run ./cmd/mkboot binary -arch "$TARGETARCH" -o /out/bootlace

FROM scratch
COPY --from=build /out/bootlace /bootlace
ENTRYPOINT ["/bootlace"]
CMD ["help"]
