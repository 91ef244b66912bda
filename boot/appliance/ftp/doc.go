// Package ftp serves the tree by FTP, read-only. Large images are fetched this
// way, over TCP.
//
// The appliance's root makes a Server and calls Serve. Package ftpserverlib
// implements the protocol. This package owns the limits on clients, the
// timeouts, and who may open a data connection. It reads files through
// files.Tree alone. Package access decides who may log in.
//
// A session has one control connection and at most one data connection. A
// client gets data only at its own address: there is no active mode (RFC 2577
// section 3). The package never changes a file.
package ftp
