package agent

import (
	"context"
	"fmt"
	"os"

	"github.com/bootlace/bootlace/boot"
	"github.com/bootlace/bootlace/boot/agent/kexec"
	"github.com/bootlace/bootlace/boot/agent/pull"
	"github.com/bootlace/bootlace/boot/human"
)

// bootKernel is the outcome of action boot. Kernel and initrd are pulled and
// checked against the plan's digests. Then they start in place of this kernel.
func bootKernel(ctx context.Context, s *Session, p *boot.Plan) error {
	if err := fits(p); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "boot")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	kernel, err := download(ctx, s, p, p.Kernel, dir+"/kernel")
	if err != nil {
		return err
	}
	defer kernel.Close()
	var initrd *os.File
	if p.Initrd != nil {
		if initrd, err = download(ctx, s, p, p.Initrd, dir+"/initrd"); err != nil {
			return err
		}
		defer initrd.Close()
	}
	if err := kexec.Load(kernel, initrd, p.Cmdline); err != nil {
		return err
	}
	// Loaded is as good as done: the new kernel has nobody who reports.
	text := "starts " + p.Kernel.Name
	s.Reporter.Report(boot.Event{Kind: boot.KindHandover, File: p.Kernel.Name, Text: "kexec " + p.Kernel.Name})
	if err := s.acknowledged(ctx, boot.Event{Kind: boot.KindDone, File: p.Kernel.Name, Text: text}); err != nil {
		return err
	}
	s.console.say("done: %s", text)
	if !s.cfg.Init {
		s.left.Store(true)
		return nil
	}
	return kexec.Exec()
}

// reserve is the memory left for everything else, in bytes.
const reserve = 16 << 20

// fits reports why kernel and initrd are too large for this machine's memory. It
// is asked before anything is pulled.
func fits(p *boot.Plan) error {
	size := p.Kernel.Size
	if p.Initrd != nil {
		size += p.Initrd.Size
	}
	free, err := memory("MemAvailable")
	if err != nil {
		return err
	}
	copies := kexec.Copies()
	if size < 0 || size > (free-reserve)/copies {
		return fmt.Errorf("kernel and initrd of %s need %s of memory while they are loaded, %s are free",
			human.Bytes(size), human.Bytes(copies*size+reserve), human.Bytes(free))
	}
	return nil
}

// download pulls a file into tmpfs and returns it opened anew for reading.
// kexec_file_load(2) takes no file that is open for writing.
func download(ctx context.Context, s *Session, p *boot.Plan, f *boot.File, name string) (*os.File, error) {
	w, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	err = newPuller(s, p, f.Name).Fetch(ctx, pull.File{Name: f.Name, Size: f.Size, SHA256: f.SHA256}, w)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return nil, err
	}
	return os.Open(name)
}
