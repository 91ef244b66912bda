// Package conformance holds the behaviours that a TFTP server is to have. They
// are rows of a table, with one client that asks for them. RFC 1350, 2347, 2348, 2349 and 7440
// demand most of them. Firmware and strangers make a server need the others.
//
// The package's test is its main caller:
//
//	go test ./boot/tftp/conformance
//	go test ./boot/tftp/conformance -table FILE
//
// It builds our server and starts it beside those of others, in network
// namespaces of their own. Ours must hold every row. The table tells what each
// of them does. This needs root.
//
// The same rows can be asked of any server, without root:
//
//	go test ./boot/tftp/conformance -make-tree DIR
//	go test ./boot/tftp/conformance -server HOST:PORT -tree DIR
//	go test ./boot/tftp/conformance -server HOST:PORT -tree DIR -mode upload
//
// The server is to serve DIR, which MakeTree makes and describes. Rows write to
// DIR, so it is to be on this machine and writable. In the mode upload the
// server takes new files into DIR. In the mode single it serves DIR, and all
// from the port of requests. Rows about several addresses or links say that
// they need the cables of the test.
//
// scripts/tftpbench is the other caller. Its clients are Downloads over sockets
// of their own.
//
// The client has a codec of its own and imports nothing of package tftp. So it
// looks at the protocol with other eyes: an error in our codec cannot hide in
// it. Nothing of the product imports this package.
//
// A row depends on no clock but the server's. Where time passes a server sends
// again, so copies of a block are taken for what they are. Where a row bounds a
// time, one of several tries has to hold.
package conformance
