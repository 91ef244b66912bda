package ftp

import (
	"crypto/tls"
	"errors"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	ftpserver "github.com/fclairamb/ftpserverlib"
	"github.com/spf13/afero"

	"github.com/bootlace/bootlace/boot/appliance/files"
)

// A driver is the library's view of one client: its settings, login and files.
type driver struct {
	*session
	client ftpserver.ClientContext
	readOnlyFs
}

// GetSettings is called once for each client.
func (d *driver) GetSettings() (*ftpserver.Settings, error) {
	return &ftpserver.Settings{
		Listener:               d.session,
		IdleTimeout:            -1, // controlConn has timeouts of its own
		ConnectionTimeout:      int(d.Timing.Data/time.Second) + 1,
		DisableActiveMode:      true,
		DisableSite:            true,
		DisableMFMT:            true,
		DisableSTAT:            true,
		DefaultTransferType:    ftpserver.TransferTypeBinary,
		DisableASCIIConversion: true,                      // images are never text
		PasvConnectionsCheck:   ftpserver.IPMatchDisabled, // passiveListener has a check of its own
	}, nil
}

// ClientConnected returns the greeting.
func (d *driver) ClientConnected(c ftpserver.ClientContext) (string, error) {
	d.client = c
	return "Bootlace: log in as anonymous, for reading", nil
}

// ClientDisconnected ends the session, whatever the library still waits for.
func (d *driver) ClientDisconnected(ftpserver.ClientContext) { d.session.end() }

// AuthUser logs in the clients that Access accepts.
func (d *driver) AuthUser(_ ftpserver.ClientContext, user, password string) (ftpserver.ClientDriver, error) {
	p, err := d.Access.Login(user, password)
	if err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asClient.User = p.Name
	d.loggedIn, d.lastActivity = true, time.Now()
	return d, nil
}

// GetTLSConfig refuses TLS.
func (d *driver) GetTLSConfig() (*tls.Config, error) { return nil, errors.New("no TLS here") }

// WrapPassiveListener is called for PASV and EPSV.
func (d *driver) WrapPassiveListener(l net.Listener) (net.Listener, error) { return d.listenPassive(l) }

// GetHandle opens a file for RETR.
func (d *driver) GetHandle(name string, flags int, _ int64) (ftpserver.FileTransfer, error) {
	if flags != os.O_RDONLY {
		return nil, errReadOnly{}
	}
	f, err := d.Tree.Open(d.ctx, d.asClient, name)
	if err != nil {
		why := files.Explain(err)
		d.setReplyCode(why)
		d.Tree.Done(d.asClient, files.Refused(strings.TrimPrefix(name, "/"), why.Error()))
		return nil, why
	}
	t := d.newTransfer(f)
	if t == nil {
		f.Close()
		return nil, errEnding
	}
	return t, nil
}

// Stat describes a file or folder. The library also calls it for RNFR, which is
// refused.
func (d *driver) Stat(name string) (os.FileInfo, error) {
	if d.client.GetLastCommand() == "RNFR" {
		return nil, errReadOnly{}
	}
	info, err := d.Tree.Stat(d.ctx, d.asClient, name)
	if err != nil {
		return nil, files.Explain(err)
	}
	return entry{info}, nil
}

// ReadDir lists a folder.
func (d *driver) ReadDir(name string) ([]os.FileInfo, error) {
	entries, err := d.Tree.ReadDir(d.ctx, d.asClient, name)
	if err != nil {
		return nil, files.Explain(err)
	}
	var infos []os.FileInfo
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			infos = append(infos, entry{info})
		}
	}
	return infos, nil
}

// Name names the file system.
func (d *driver) Name() string { return "tree" }

// An entry hides the host's permissions.
type entry struct{ os.FileInfo }

func (e entry) Mode() os.FileMode {
	if e.IsDir() {
		return fs.ModeDir | 0o555
	}
	return 0o444
}

// errReadOnly refuses every change. STOR and APPE get 553 (RFC 959 section
// 5.4), other commands 550.
type errReadOnly struct{}

func (errReadOnly) Error() string        { return "files are for reading" }
func (errReadOnly) Is(target error) bool { return target == ftpserver.ErrFileNameNotAllowed }

// readOnlyFs refuses all methods of afero.Fs that change something.
type readOnlyFs struct{}

func (readOnlyFs) Create(string) (afero.File, error)                     { return nil, errReadOnly{} }
func (readOnlyFs) Open(string) (afero.File, error)                       { return nil, errReadOnly{} }
func (readOnlyFs) OpenFile(string, int, os.FileMode) (afero.File, error) { return nil, errReadOnly{} }
func (readOnlyFs) Mkdir(string, os.FileMode) error                       { return errReadOnly{} }
func (readOnlyFs) MkdirAll(string, os.FileMode) error                    { return errReadOnly{} }
func (readOnlyFs) Remove(string) error                                   { return errReadOnly{} }
func (readOnlyFs) RemoveAll(string) error                                { return errReadOnly{} }
func (readOnlyFs) Rename(string, string) error                           { return errReadOnly{} }
func (readOnlyFs) Chmod(string, os.FileMode) error                       { return errReadOnly{} }
func (readOnlyFs) Chown(string, int, int) error                          { return errReadOnly{} }
func (readOnlyFs) Chtimes(string, time.Time, time.Time) error            { return errReadOnly{} }
