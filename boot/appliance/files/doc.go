// Package files is the one way to a served byte, for every protocol.
//
// The servers of TFTP, FTP and HTTP call Tree.Open with the Client that asks.
// They explain a refusal with Explain, and tell Tree.Done what came of it.
// The package owns the served folder, confined by an os.Root, the names under
// which its files and the made ones are served, and the upload folder. It
// never decides what a machine gets, and never speaks a protocol.
package files
