module github.com/bootlace/bootlace

go 1.26.0

// What each adds to the static binary for amd64, by `go tool nm -size`.
require (
	github.com/fclairamb/ftpserverlib v0.32.3 // 103 KiB: FTP server
	github.com/insomniacslk/dhcp v0.0.0-20260901064844-234b97448fae // 75 KiB, with its DHCPv6 some 300, and 26 of mdlayher/packet: DHCP codecs and client
	github.com/jlaffaye/ftp v0.2.4 // 24 KiB: FTP client
	github.com/klauspost/compress v1.20.3 // 191 KiB: zstd and gzip
	github.com/pin/tftp/v3 v3.2.0 // 37 KiB: TFTP uploads
	github.com/spf13/afero v1.15.0 // nearly nothing: what ftpserverlib takes a tree as
	github.com/therootcompany/xz v1.0.1 // 23 KiB: xz with a bounded dictionary
	github.com/u-root/gobusybox/src v0.0.0-20250101170133-2e884e4509c7 // mkboot only: --rescue
	github.com/u-root/mkuimage v0.0.0-20250905073043-9a40452f5d3b // mkboot only: packs the initramfs
	github.com/u-root/u-root v0.16.0 // 3 KiB, and 45 of ulikunitz/xz: kexec, modules
	github.com/u-root/uio v0.0.0-20240224005618-d2acac8f3701 // mkboot only: the log that mkuimage takes
	github.com/ulikunitz/xz v0.5.17 // tests: it compresses
	github.com/vishvananda/netlink v1.3.1 // 10 KiB, of its package nl: links, addresses and routes; netlink itself would add 150
	github.com/vishvananda/netns v0.0.5 // nearly nothing: netlink takes it; tests: network namespaces
	go.etcd.io/bbolt v1.5.0 // 104 KiB: the state
	go.yaml.in/yaml/v3 v3.0.6 // 139 KiB: the config; goccy/go-yaml would add 300 more
	golang.org/x/net v0.55.0 // 119 KiB, nearly all of it what net/http brings anyway: sockets and filters of DHCP
	golang.org/x/sync v0.24.0 // nearly nothing: errgroup
	golang.org/x/sys v0.49.0 // 30 KiB: system calls
)

require (
	github.com/dustin/go-humanize v1.0.1 // indirect
	github.com/hugelgupf/go-shlex v0.0.0-20200702092117-c80c9d0918fa // indirect
	github.com/josharian/native v1.1.0 // indirect
	github.com/klauspost/pgzip v1.2.6 // indirect
	github.com/mdlayher/packet v1.1.2 // indirect
	github.com/mdlayher/socket v0.5.1 // indirect
	github.com/pierrec/lz4/v4 v4.1.22 // indirect
	golang.org/x/exp v0.0.0-20250305212735-054e65f0b394 // indirect
	golang.org/x/mod v0.35.0 // indirect
	golang.org/x/text v0.37.0 // indirect
	golang.org/x/tools v0.44.0 // indirect
	mvdan.cc/sh/v3 v3.11.0 // indirect
)
