//go:build wip

package boot

import (
	_ "github.com/fclairamb/ftpserverlib"
	_ "github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	_ "github.com/jlaffaye/ftp"
	_ "github.com/klauspost/compress/gzip"
	_ "github.com/klauspost/compress/zstd"
	_ "github.com/pin/tftp/v3"
	_ "github.com/spf13/afero"
	_ "github.com/u-root/mkuimage/uimage"
	_ "github.com/u-root/u-root/pkg/boot"
	_ "github.com/u-root/u-root/pkg/boot/kexec"
	_ "github.com/u-root/u-root/pkg/cpio"
	_ "github.com/u-root/u-root/pkg/efivarfs"
	_ "github.com/u-root/u-root/pkg/kmodule"
	_ "github.com/u-root/u-root/pkg/libinit"
	_ "github.com/u-root/u-root/pkg/mount/block"
	_ "github.com/ulikunitz/xz"
	_ "github.com/vishvananda/netlink"
	_ "go.etcd.io/bbolt"
	_ "go.yaml.in/yaml/v3"
	_ "golang.org/x/net/ipv4"
	_ "golang.org/x/sync/errgroup"
	_ "golang.org/x/sys/unix"
)
