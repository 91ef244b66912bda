package firmware

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"
)

// Names in the initramfs that the agent reads.
const (
	ModulesFile = "/etc/bootlace/modules" // paths of modules, one a line, in load order
	BoardFile   = "/etc/bootlace/board"   // the board's name
)

// window is zstd's, and what a machine needs to decompress beyond the result.
// The kernel takes up to 128 MiB (ZSTD_WINDOWSIZE_MAX of its
// lib/decompress_unzstd.c, 8 MiB before Linux 5.17); its own build uses 8.
const window = 8 << 20

// archive makes the initramfs as a cpio, by u-root's builder: the agent as
// /init, the board's name, and modules with the order to load them in.
//
// All of it is given as records, none as files of the machine's: their modes
// would be the umask's. The builder sorts, adds parents, and clears times,
// owners and inode numbers.
func archive(agent []byte, board string, modules []module) ([]byte, error) {
	records := []cpio.Record{
		cpio.Directory("bin", 0o755),
		cpio.Directory("dev", 0o755),
		cpio.Directory("etc", 0o755),
		cpio.Directory("etc/bootlace", 0o755),
		cpio.Directory("lib", 0o755),
		cpio.Directory("lib/modules", 0o755),
		cpio.Directory("mnt", 0o755),
		cpio.Directory("proc", 0o755),
		cpio.Directory("root", 0o700),
		cpio.Directory("run", 0o755),
		cpio.Directory("sys", 0o755),
		cpio.Directory("tmp", 0o1777),
		cpio.Directory("var", 0o755),
		// Until devtmpfs is mounted; the kernel opens console for /init.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/kmsg", 0o600, 1, 11),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("bin/bootlace", string(agent), 0o755),
		cpio.Symlink("init", "bin/bootlace"),
		cpio.StaticFile(BoardFile[1:], board+"\n", 0o644),
	}
	var order strings.Builder
	for _, m := range modules {
		name := "/lib/modules/" + m.Name
		fmt.Fprintln(&order, name)
		records = append(records, cpio.StaticFile(name[1:], string(m.Data), 0o644))
	}
	records = append(records, cpio.StaticFile(ModulesFile[1:], order.String(), 0o644))

	base, err := cpio.ArchiveFromRecords(records)
	if err != nil {
		return nil, fmt.Errorf("make initramfs: %w", err)
	}
	var out bytes.Buffer
	err = uimage.Create(llog.Default(),
		uimage.WithTempDir(os.TempDir()), // it insists on one, for commands that it builds
		uimage.WithSkipLDD(),
		uimage.WithBaseArchive(base),
		uimage.WithExistingInit(true),
		uimage.WithOutput(output{cpio.Newc.Writer(&out)}))
	if err != nil {
		return nil, fmt.Errorf("make initramfs: %w", err)
	}
	return out.Bytes(), nil
}

// output lets u-root's builder write to any cpio writer.
type output struct{ cpio.RecordWriter }

func (o output) OpenWriter() (initramfs.Writer, error) { return o, nil }
func (o output) Finish() error                         { return cpio.WriteTrailer(o) }

// compress makes one zstd frame, by one goroutine so that it is the same on
// every machine.
func compress(raw []byte) ([]byte, error) {
	var out bytes.Buffer
	z, err := zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression),
		zstd.WithWindowSize(window), zstd.WithEncoderConcurrency(1))
	if err != nil {
		return nil, fmt.Errorf("compress initramfs: %w", err)
	}
	// A Write and Close, not EncodeAll: that would make the window as large as
	// the archive.
	if _, err := z.Write(raw); err != nil {
		return nil, fmt.Errorf("compress initramfs: %w", err)
	}
	if err := z.Close(); err != nil {
		return nil, fmt.Errorf("compress initramfs: %w", err)
	}
	return out.Bytes(), nil
}
