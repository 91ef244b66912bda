package appliance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/netip"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/access"
	"github.com/bootlace/bootlace/boot/appliance/files"
	"github.com/bootlace/bootlace/boot/tftp"
	"github.com/bootlace/bootlace/boot/tftp/upload"
)

// tftpFiles is how many files TFTP transfers may have open.
const tftpFiles = 2048

// serveTFTP makes the TFTP server. When it ends, it logs how many requests were
// refused.
func (a *Appliance) serveTFTP(conn *net.UDPConn) server {
	s := a.tftpServer()
	return func(ctx context.Context) error {
		err := s.Serve(ctx, conn)
		if refused, gaveWay := s.Counters.Refused.Load(), s.Counters.GaveWay.Load(); refused+gaveWay > 0 {
			a.log.Info("TFTP had more requests than its limits allow", "served", s.Counters.Requests.Load(), "refused", refused, "gave way", gaveWay)
		}
		return err
	}
}

func (a *Appliance) tftpServer() *tftp.Server {
	client := func(addr netip.Addr) files.Client { return files.Client{Addr: addr.Unmap(), Via: "tftp"} }
	settings := a.cfg.TFTP
	settings.Limits.Files = a.budget.share(tftpFiles)
	s := &tftp.Server{
		Log: a.log, Config: settings,
		Open: func(ctx context.Context, r *tftp.Request) (*tftp.Source, error) {
			c := client(r.Remote.Addr())
			f, err := a.tree.Open(ctx, c, r.Name)
			if err != nil {
				return nil, err
			}
			src := &tftp.Source{ReaderAt: f, Size: f.Size(), Close: f.Close, Key: f.ID()}
			if b := a.machines.boardAt(c.Addr); b != nil {
				src.Windowsize = b.Windowsize
			}
			return src, nil
		},
		Done: func(r tftp.Result) { a.tree.Done(client(r.Remote.Addr()), tftpOutcome(r)) },
	}
	if a.access.Anonymous().Can(access.Upload) {
		s.Uploads = &upload.Receiver{Create: func(_ context.Context, r *tftp.Request) (io.WriteCloser, error) {
			return a.uploads.Create(r.Name)
		}}
	}
	return s
}

// tftpOutcome describes a finished transfer, with the options that were
// granted.
func tftpOutcome(r tftp.Result) files.Outcome {
	if r.Err != nil && !r.Probe {
		o := files.Refused(r.Name, fmt.Sprintf("%v, after %d bytes", r.Err, r.Bytes))
		o.Bytes, o.Took = r.Bytes, r.Took
		return o
	}
	o := files.Outcome{File: r.Name, Bytes: r.Bytes, Took: r.Took}
	switch {
	case r.Probe:
		o.Text = "told the size of " + r.Name
		return o
	case r.Write:
		o.Text = fmt.Sprintf("took %s, %d bytes in %v", r.Name, r.Bytes, r.Took.Round(time.Millisecond))
	default:
		o.Text = files.Sent(r.Name, "", r.Bytes, r.Took)
	}
	if n := r.Granted.Blksize; n > 0 {
		o.Text += fmt.Sprintf(", blksize %d", n)
	}
	if n := r.Granted.Windowsize; n > 0 {
		o.Text += fmt.Sprintf(", windowsize %d", n)
	}
	if d := r.Granted.Timeout; d > 0 {
		o.Text += fmt.Sprintf(", timeout %d", d/time.Second)
	}
	if r.Resent > 0 {
		o.Text += fmt.Sprintf(", %d packets again", r.Resent)
	}
	return o
}
