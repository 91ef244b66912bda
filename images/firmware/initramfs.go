package firmware

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"

	"github.com/bootlace/bootlace/board"
	"github.com/u-root/mkuimage/cpio"
	"github.com/u-root/mkuimage/uimage"
	"github.com/u-root/mkuimage/uimage/initramfs"
	"github.com/u-root/uio/llog"
)

// windowLog is the size of zstd's window, as a power of two. A machine needs that
// much memory to decompress, beside the result. The kernel accepts up to 128 MiB
// (ZSTD_WINDOWSIZE_MAX in lib/decompress_unzstd.c), before Linux 5.17 8 MiB.
const windowLog = 22

// An addition is what an archive holds besides the agent and modules.
type addition struct {
	records  []cpio.Record
	commands []uimage.Modifier // for u-root's builder to compile
}

// archive makes the initramfs as a cpio, with u-root's builder. It has the agent
// as /init, the board's name, and modules with the order to load them in.
//
// The builder gets records and no files, whose modes would depend on the umask.
// It sorts, adds parent folders, and clears times, owners and inode numbers.
func archive(agent []byte, boardName string, modules []module, more addition) ([]byte, error) {
	records := []cpio.Record{
		cpio.Directory("bin", 0o755),
		cpio.Directory("dev", 0o755),
		cpio.Directory("etc", 0o755),
		cpio.Directory("etc/bootlace", 0o755),
		cpio.Directory("lib", 0o755),
		cpio.Directory("lib/modules", 0o755),
		// Not directly below lib/modules: u-root's init would load them, in no order.
		cpio.Directory("lib/modules/bootlace", 0o755),
		cpio.Directory("mnt", 0o755),
		cpio.Directory("proc", 0o755),
		cpio.Directory("root", 0o700),
		cpio.Directory("run", 0o755),
		cpio.Directory("sys", 0o755),
		cpio.Directory("tmp", 0o1777),
		cpio.Directory("var", 0o755),
		// Used until devtmpfs is mounted. The kernel opens console for /init.
		cpio.CharDev("dev/console", 0o600, 5, 1),
		cpio.CharDev("dev/kmsg", 0o600, 1, 11),
		cpio.CharDev("dev/null", 0o666, 1, 3),
		cpio.StaticFile("bin/bootlace", string(agent), 0o755),
		cpio.Symlink("init", "bin/bootlace"),
		cpio.StaticFile(board.BoardFile[1:], boardName+"\n", 0o644),
	}
	var order strings.Builder
	for _, m := range modules {
		name := "/lib/modules/bootlace/" + m.Name
		fmt.Fprintln(&order, name)
		records = append(records, cpio.StaticFile(name[1:], string(m.Data), 0o644))
	}
	records = append(records, cpio.StaticFile(board.ModulesFile[1:], order.String(), 0o644))

	base, err := cpio.ArchiveFromRecords(append(records, more.records...))
	if err != nil {
		return nil, fmt.Errorf("make initramfs: %w", err)
	}
	var out bytes.Buffer
	tmp, err := os.MkdirTemp("", "bootlace-initramfs-") // for compiled commands
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	err = uimage.Create(llog.Default(), append([]uimage.Modifier{
		uimage.WithTempDir(tmp),
		uimage.WithSkipLDD(),
		uimage.WithBaseArchive(base),
		uimage.WithExistingInit(true),
		uimage.WithOutput(output{cpio.Newc.Writer(&out)}),
	}, more.commands...)...)
	if err != nil {
		return nil, fmt.Errorf("make initramfs: %w", err)
	}
	return out.Bytes(), nil
}

// output lets u-root's builder write to any cpio writer.
type output struct{ cpio.RecordWriter }

func (o output) OpenWriter() (initramfs.Writer, error) { return o, nil }
func (o output) Finish() error                         { return cpio.WriteTrailer(o) }

// compress makes one zstd frame with the program zstd. At level 19 its result is
// an eighth smaller than that of Go's encoders. One version of it gives the same
// bytes on every machine, so the version is in the record.
func (b *boardBuild) compress(ctx context.Context, raw []byte) ([]byte, error) {
	version, err := runZstd(ctx, nil, "--version")
	if err != nil {
		return nil, err
	}
	b.record.add("zstd %s", regexp.MustCompile(`[0-9]+\.[0-9.]+`).Find(version))
	level := "-19"
	if b.Fast {
		level = "-3"
	}
	// The input is a pipe. If zstd knew the size, the window could be that large.
	return runZstd(ctx, raw, level, fmt.Sprintf("--zstd=wlog=%d", windowLog), "--single-thread", "-c")
}

func runZstd(ctx context.Context, in []byte, args ...string) ([]byte, error) {
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, "zstd", append([]string{"-q"}, args...)...)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), &stderr
	cmd.Env = append(os.Environ(), "ZSTD_CLEVEL=", "ZSTD_NBTHREADS=")
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("run zstd: %w: %s", err, bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}
