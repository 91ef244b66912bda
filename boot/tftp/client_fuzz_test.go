package tftp

import (
	"bytes"
	"context"
	"net"
	"testing"
	"time"
)

// FuzzClient answers a request with packets in any order. Whatever they are,
// the client ends, has written what it says, and takes no truncated file for
// whole.
func FuzzClient(f *testing.F) {
	join := func(packets ...[]byte) (all []byte) {
		for _, p := range packets {
			all = append(append(all, byte(len(p))), p...)
		}
		return all
	}
	f.Add(join(data(1, []byte("x"))))
	f.Add(join(appendOACK(nil, Options{TSize: true, Size: 10, Blksize: 8, Windowsize: 2}), data(1, make([]byte, 8)), data(2, make([]byte, 2))))
	f.Add(join(appendOACK(nil, Options{TSize: true, Size: 100, Blksize: 8}), data(1, make([]byte, 8)), data(3, nil), data(2, nil)))
	f.Add(join(errp(&Error{CodeOptions, "no"}), data(1, nil)))
	f.Add(join(data(2, nil), data(0, nil), []byte{0, 6}, []byte{0, 3}, nil, ack(1)))
	f.Fuzz(func(t *testing.T, script []byte) {
		server := listen(t, "127.0.0.1:0")
		go func() {
			buf := make([]byte, 1024)
			_, from, err := server.ReadFromUDPAddrPort(buf)
			for err == nil && len(script) > 0 {
				n := min(int(script[0]), len(script)-1)
				_, err = server.WriteToUDPAddrPort(script[1:1+n], from)
				script = script[1+n:]
			}
		}()
		var got bytes.Buffer
		c := &Client{Timing: Timing{Initial: 2 * time.Millisecond, Min: time.Millisecond, Max: 2 * time.Millisecond, First: 2, Retries: 2, Dally: time.Millisecond}}
		tr, err := c.Get(context.Background(), server.LocalAddr().(*net.UDPAddr).AddrPort(), "f", &got)
		if tr.Bytes != int64(got.Len()) {
			t.Errorf("%d bytes were written, %d reported", got.Len(), tr.Bytes)
		}
		if err == nil && tr.Size >= 0 && tr.Size != tr.Bytes {
			t.Errorf("%d of %d bytes are a success", tr.Bytes, tr.Size)
		}
		server.Close()
	})
}
