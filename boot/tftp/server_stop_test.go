package tftp

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// A server that stops ends whatever is under way and tells the clients. It
// leaves neither goroutines nor descriptors behind.
func TestStopInMidst(t *testing.T) {
	ours := func() (stacks []string) {
		buf := make([]byte, 4<<20)
		for s := range strings.SplitSeq(string(buf[:runtime.Stack(buf, true)]), "\n\n") {
			if strings.Contains(s, "tftp.(*engine)") || strings.Contains(s, "tftp.(*Upload)") || strings.Contains(s, "tftp.(*workers)") {
				stacks = append(stacks, s)
			}
		}
		return stacks
	}
	for _, single := range []bool{false, true} {
		before := descriptors(t)
		file, release := &disk{data: pattern(300_000)}, make(chan struct{})
		slow := &disk{data: file.data, fault: func(int64) error { <-release; return nil }}
		b := serve(t, nil, func(s *Server) {
			s.SinglePort = single
			s.Timing = noTimeouts
			s.Uploads = storeUploads((&drop{}).create)
			s.Open = func(ctx context.Context, r *Request) (*Source, error) {
				switch r.Name {
				case "open":
					<-ctx.Done()
					return nil, ctx.Err()
				case "read":
					return slow.source(nil), nil
				}
				return file.source("f"), nil
			}
		})
		var told []*rawPeer
		for i := range 200 {
			w := b.newPeer(t)
			beginKind(w, i, file.data)
			told = append(told, w)
		}
		b.stop()
		for i, w := range told {
			if p := w.recv(hangGuard); opcode(p) != opERROR || *parseError(p) != *errStopping {
				t.Errorf("client %d of kind %d was told %s", i, i%5, short(p))
			}
			w.conn.Close()
		}
		close(release)
		if err := <-b.stopped; err != nil {
			t.Error(err)
		}
		b.stopped <- nil
		if n := file.open.Load() + slow.open.Load(); n != 0 {
			t.Errorf("%d sources are still open", n)
		}
		eventually(t, "goroutines end", func() bool { return len(ours()) == 0 })
		for _, s := range ours() {
			t.Errorf("left behind: %s", s)
		}
		eventually(t, "descriptors are closed", func() bool {
			return !slices.ContainsFunc(descriptors(t), func(fd string) bool { return !slices.Contains(before, fd) })
		})
	}
}

// beginKind begins the i-th transfer, of one of five kinds.
func beginKind(w *rawPeer, i int, file []byte) {
	switch i % 5 {
	case 0: // half-open
		w.send(rrq("f", "tsize", "0"))
		w.want([]byte("\x00\x06tsize\x00300000\x00"))
	case 1:
		w.send(rrq("f"))
		w.want(data(1, file[:512]))
		w.send(ack(1))
		w.want(data(2, file[512:1024]))
	case 2:
		w.send(rrq("open"))
	case 3:
		w.send(rrq("read"))
	case 4:
		w.send(request(opWRQ, fmt.Sprint(i), "octet"))
		w.want(ack(0))
		w.send(data(1, file[:512]))
		w.want(ack(1))
	}
}

func descriptors(t *testing.T) (names []string) {
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if link, err := os.Readlink("/proc/self/fd/" + e.Name()); err == nil && strings.HasPrefix(link, "socket:") {
			names = append(names, link)
		}
	}
	return names
}

// A socket that fails while a server starts is an error, and no other is left.
func TestNoRoomForSockets(t *testing.T) {
	conn := listen(t, "127.0.0.1:0")
	conn.Close()
	if err := (&Server{}).Serve(t.Context(), conn); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got %v", err)
	}
}
