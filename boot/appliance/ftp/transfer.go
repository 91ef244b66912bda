package ftp

import (
	"errors"
	"fmt"
	"time"

	"github.com/bootlace/bootlace/boot/appliance/files"
)

// A transfer is one RETR command.
type transfer struct {
	file    *files.File
	session *session
	began   time.Time
	offset  int64 // from REST
	sent    int64
	err     error
}

// newTransfer begins a transfer. It returns nil if the session has ended.
func (n *session) newTransfer(f *files.File) *transfer {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.ended {
		return nil
	}
	n.transfers.Add(1)
	n.activeTransfers++
	return &transfer{file: f, session: n, began: time.Now()}
}

// Seek sets the offset of REST. It may be the end of the file, but not lie
// after it. A client with more bytes than that has another file.
func (t *transfer) Seek(offset int64, _ int) (int64, error) {
	if offset < 0 || offset > t.file.Size() {
		t.err = fmt.Errorf("%w: byte %d of %d", errRestart, offset, t.file.Size())
		t.session.setReplyCode(t.err)
		return 0, t.err
	}
	t.offset = offset
	return offset, nil
}

// Read implements the library's interface. dataConn.ReadFrom sends files.
func (t *transfer) Read(p []byte) (int, error) {
	n, err := t.file.ReadAt(p, t.offset+t.sent)
	t.sent += int64(n)
	return n, err
}

func (t *transfer) Write([]byte) (int, error) { return 0, errReadOnly{} }

// TransferError records why a transfer failed. The library calls it before
// Close.
func (t *transfer) TransferError(err error) {
	t.err = err
	t.session.setReplyCode(err)
}

// Close notes how the transfer ended.
func (t *transfer) Close() error {
	defer t.session.transfers.Done()
	err := t.file.Close()
	n := t.session
	n.mu.Lock()
	n.activeTransfers--
	n.lastActivity = time.Now()
	n.mu.Unlock()

	name, size, took := t.file.Name(), t.file.Size(), time.Since(t.began)
	o := files.Outcome{File: name, Bytes: t.sent, Total: size, Took: took}
	switch {
	case t.err != nil:
		o.Failed, o.Text = true, fmt.Sprintf("%s from byte %d broke off after %d bytes: %v", name, t.offset, t.sent, knownError(t.err))
	case t.offset > 0:
		o.Text = files.Sent(name, fmt.Sprintf("bytes %d-%d/%d", t.offset, t.offset+t.sent-1, size), t.sent, took)
	default:
		o.Text = files.Sent(name, "", t.sent, took)
	}
	n.Tree.Done(n.asClient, o)
	return err
}

// knownError finds our own error inside one of the library.
func knownError(err error) error {
	for _, known := range []error{errNoData, errStalled, errBroken, errShort, errEnding, files.Unreadable} {
		if errors.Is(err, known) {
			return known
		}
	}
	return err
}
