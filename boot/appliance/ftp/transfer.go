package ftp

import (
	"errors"
	"fmt"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/files"
)

// A transfer is one RETR.
type transfer struct {
	file    *files.File
	session *session
	began   time.Time
	offset  int64 // of REST
	sent    int64
	err     error
}

// newTransfer returns nil once the session has ended.
func (n *session) newTransfer(f *files.File) *transfer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
	n.transfers.Add(1)
	n.active++
	return &transfer{file: f, session: n, began: time.Now()}
}

// Seek takes the offset of REST, which may be the end of the file but not lie
// behind it: a client that has more than there is has another file.
func (t *transfer) Seek(offset int64, _ int) (int64, error) {
	if offset < 0 || offset > t.file.Size() {
		t.err = fmt.Errorf("%w: byte %d of %d", errRestart, offset, t.file.Size())
		t.session.setCode(t.err)
		return 0, t.err
	}
	t.offset = offset
	return offset, nil
}

// Read and Write are for the library's interface: data.ReadFrom sends the file.
func (t *transfer) Read(p []byte) (int, error) {
	n, err := t.file.ReadAt(p, t.offset+t.sent)
	t.sent += int64(n)
	return n, err
}

func (t *transfer) Write([]byte) (int, error) { return 0, errReadOnly{} }

// TransferError is called before Close where the transfer is not whole.
func (t *transfer) TransferError(err error) {
	t.err = err
	t.session.setCode(err)
}

// Close notes how the transfer ended.
func (t *transfer) Close() error {
	defer t.session.transfers.Done()
	err := t.file.Close()
	n := t.session
	n.mu.Lock()
	n.active--
	n.last = time.Now()
	n.mu.Unlock()

	name, size, took := t.file.Name(), t.file.Size(), time.Since(t.began)
	o := files.Outcome{File: name, Bytes: t.sent, Total: size, Took: took}
	switch {
	case t.err != nil:
		o.Failed, o.Text = true, fmt.Sprintf("%s from byte %d broke off after %d bytes: %v", name, t.offset, t.sent, reason(t.err))
	case t.offset > 0:
		o.Text = files.Sent(name, fmt.Sprintf("bytes %d-%d/%d", t.offset, t.offset+t.sent-1, size), t.sent, took)
	default:
		o.Text = files.Sent(name, "", t.sent, took)
	}
	n.Tree.Done(n.who, o)
	return err
}

// reason is our own error under what the library wraps around it.
func reason(err error) error {
	for _, own := range []error{errNoData, errStalled, errBroken, errShort, errEnding, files.Unreadable} {
		if errors.Is(err, own) {
			return own
		}
	}
	return err
}
