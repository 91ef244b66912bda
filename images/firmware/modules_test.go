package firmware

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// ko makes an ELF object with a .modinfo section, and nothing else.
func ko(t *testing.T, entries ...string) []byte {
	t.Helper()
	info := strings.Join(entries, "\x00") + "\x00"
	names := "\x00.modinfo\x00.shstrtab\x00"
	const ehsize, shsize = 64, 64
	infoAt := uint64(ehsize)
	namesAt := infoAt + uint64(len(info))
	var b bytes.Buffer
	write := func(v any) {
		if err := binary.Write(&b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	write(elf.Header64{
		Ident: [16]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_REL), Machine: uint16(elf.EM_X86_64), Version: 1,
		Ehsize: ehsize, Shoff: namesAt + uint64(len(names)), Shentsize: shsize, Shnum: 3, Shstrndx: 2,
	})
	write([]byte(info))
	write([]byte(names))
	write(elf.Section64{})
	write(elf.Section64{Name: 1, Type: uint32(elf.SHT_PROGBITS), Off: infoAt, Size: uint64(len(info))})
	write(elf.Section64{Name: 10, Type: uint32(elf.SHT_STRTAB), Off: namesAt, Size: uint64(len(names))})
	return b.Bytes()
}

func packed(t *testing.T, suffix string, data []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	var w interface {
		Write([]byte) (int, error)
		Close() error
	}
	var err error
	switch suffix {
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

const vermagic = "vermagic=6.1.0-test SMP mod_unload"

// testModules is the folder of testTree's modules.
const testModules = "lib/modules/6.1.0-test/"

// testTree has modules with every kind of dependency and of compression.
func testTree(t *testing.T) fstest.MapFS {
	file := func(data []byte) *fstest.MapFile { return &fstest.MapFile{Data: data} }
	const dir = testModules
	return fstest.MapFS{
		dir + "modules.builtin":          file([]byte("kernel/fs/ext4/ext4.ko\nkernel/lib/crc-ccitt.ko\n")),
		dir + "kernel/net.ko":            file(ko(t, "depends=failover,virtio-ring", vermagic)),
		dir + "kernel/failover.ko":       file(ko(t, "depends=", vermagic)),
		dir + "kernel/virtio_ring.ko.xz": file(packed(t, ".xz", ko(t, "depends=virtio,crc_ccitt", vermagic))),
		dir + "kernel/virtio.ko.zst":     file(packed(t, ".zst", ko(t, "depends=", vermagic))),
		dir + "kernel/blk.ko.gz":         file(packed(t, ".gz", ko(t, "depends=virtio-ring", vermagic, "softdep=pre: cipher alias:none post: late"))),
		dir + "kernel/cipher.ko":         file(ko(t, vermagic)),
		dir + "kernel/late.ko":           file(ko(t, vermagic)),
		dir + "kernel/soft1.ko":          file(ko(t, vermagic, "softdep=pre: soft2")),
		dir + "kernel/soft2.ko":          file(ko(t, vermagic, "softdep=pre: soft1")),
		dir + "kernel/loop1.ko":          file(ko(t, vermagic, "depends=loop2")),
		dir + "kernel/loop2.ko":          file(ko(t, vermagic, "depends=loop1")),
		dir + "kernel/softloop.ko":       file(ko(t, vermagic, "softdep=pre: child")),
		dir + "kernel/child.ko":          file(ko(t, vermagic, "depends=softloop")),
		dir + "kernel/orphan.ko":         file(ko(t, vermagic, "depends=parent")),
		dir + "kernel/alien.ko":          file(ko(t, "vermagic=5.10 SMP")),
		dir + "kernel/broken.ko":         file([]byte("not ELF")),
		dir + "kernel/broken_xz.ko.xz":   file(packed(t, ".xz", ko(t, vermagic))[:60]),
		dir + "modules.order":            file([]byte("kernel/net.ko\n")),
	}
}

func TestClosure(t *testing.T) {
	tree := testTree(t)
	for _, tt := range []struct {
		names string
		want  string // in order, or
		err   string // part of the error
	}{
		{names: "net", want: "failover.ko virtio.ko virtio_ring.ko net.ko"},
		{names: "virtio-ring virtio_ring net", want: "virtio.ko virtio_ring.ko failover.ko net.ko"},
		{names: "blk", want: "cipher.ko virtio.ko virtio_ring.ko blk.ko"},
		{names: "ext4 crc_ccitt crc-ccitt", want: ""},
		{names: "soft1", want: "soft2.ko soft1.ko"},
		{names: "softloop child", want: "softloop.ko child.ko"},
		{names: "loop1", err: "needs itself"},
		{names: "net nothing", err: "module nothing: file does not exist"},
		{names: "orphan", err: "module orphan: module parent: file does not exist"},
		{names: "net alien", err: "module alien: it is for kernel 5.10, others for 6.1.0-test"},
		{names: "broken", err: "module broken: read ELF"},
		{names: "broken-xz", err: io.ErrUnexpectedEOF.Error()},
	} {
		t.Run(tt.names, func(t *testing.T) {
			m, err := openModules(tree)
			if err != nil {
				t.Fatal(err)
			}
			load, release, err := m.closure(strings.Fields(tt.names))
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Fatalf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, m := range load {
				got = append(got, m.Name)
				if !bytes.HasPrefix(m.Data, []byte(elf.ELFMAG)) {
					t.Errorf("%s is not unpacked", m.Name)
				}
			}
			if strings.Join(got, " ") != tt.want {
				t.Errorf("loads %q, want %q", got, tt.want)
			}
			if len(load) > 0 && release != "6.1.0-test" {
				t.Errorf("release %q", release)
			}
		})
	}
	tree[testModules+"updates/net.ko"] = tree[testModules+"kernel/net.ko"]
	if _, err := openModules(tree); err == nil {
		t.Error("two modules of one name went through")
	}
}

// In Debian's own package, every module comes after those that it depends on.
func TestClosureOfDebian(t *testing.T) {
	p := testPackages(t)
	pkg, err := p.Get(t.Context(), "amd64", "linux-image-cloud-amd64")
	if err != nil {
		t.Fatal(err)
	}
	dir, ok := unpacked[pkg.SHA256]
	if !ok {
		dir = t.TempDir()
		if err := unpack(t.Context(), pkg.Path, dir, func(name string) bool {
			return isModule(name) || strings.HasSuffix(name, "/modules.builtin")
		}); err != nil {
			t.Fatal(err)
		}
	}
	tree, err := openModules(os.DirFS(dir))
	if err != nil {
		t.Fatal(err)
	}
	if len(tree.files) < 100 || !tree.builtin["ext4"] {
		t.Fatalf("%d modules, ext4 built in: %v", len(tree.files), tree.builtin["ext4"])
	}
	load, release, err := tree.closure([]string{"virtio_pci", "virtio_net", "virtio_blk", "virtio-scsi", "sd_mod", "vfat"})
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(pkg.Name, release) {
		t.Errorf("release %s of %s", release, pkg.Name)
	}
	var loaded []string
	for _, m := range load {
		in, err := modinfo(m.Data)
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range in.depends {
			if !slices.Contains(loaded, moduleName(dep)) && !tree.builtin[moduleName(dep)] {
				t.Errorf("%s comes before %s", m.Name, dep)
			}
		}
		loaded = append(loaded, moduleName(m.Name))
	}
	for _, want := range []string{"virtio", "virtio_ring", "net_failover", "virtio_net", "fat", "vfat", "scsi_mod", "sd_mod"} {
		if !slices.Contains(loaded, want) {
			t.Errorf("%s is missing from %v", want, loaded)
		}
	}
}

func TestOpenKernel(t *testing.T) {
	image := make([]byte, 0x1000)
	copy(image[0x202:], "HdrS")
	binary.LittleEndian.PutUint16(image[0x20e:], 0x600)
	copy(image[0x800:], "6.1.0-test (builder@host) #1\x00")
	dir := t.TempDir()
	if err := os.CopyFS(dir, fstest.MapFS{
		"vmlinuz":    {Data: image},
		"Image":      {Data: []byte("another architecture's")},
		"good/a.ko":  {Data: ko(t, vermagic)},
		"other/a.ko": {Data: ko(t, "vermagic=5.10 SMP")},
	}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		image, modules string
		release        string
		n              int
		err            string
	}{
		{"vmlinuz", "", "6.1.0-test", 0, ""},
		{"vmlinuz", "/good", "6.1.0-test", 1, ""},
		{"vmlinuz", "/other", "", 0, "the kernel is 6.1.0-test, its modules are for 5.10"},
		{"Image", "/other", "5.10", 1, ""},
		{"missing", "", "", 0, "read kernel"},
		{"vmlinuz", "/missing", "", 0, "find modules"},
	} {
		t.Run(tt.image+" with "+tt.modules, func(t *testing.T) {
			modules := tt.modules
			if modules != "" {
				modules = dir + modules
			}
			k, err := openKernel(dir+"/"+tt.image, modules, []string{"a"})
			if tt.err != "" {
				if err == nil || !strings.Contains(err.Error(), tt.err) {
					t.Errorf("%s with %s: error %v, want %q", tt.image, tt.modules, err, tt.err)
				}
				return
			}
			if err != nil || k.release != tt.release || len(k.modules) != tt.n {
				t.Errorf("%s with %s: %v, release %s, %d modules", tt.image, tt.modules, err, k.release, len(k.modules))
			}
		})
	}
}
