// Package upload moves files to a TFTP server: [Receiver] is the server's part,
// [Put] the client's. It is the only package that imports
// github.com/pin/tftp. The appliance sets a Receiver as tftp.Server's Uploads,
// and package pull calls Put.
//
// The engine of package tftp owns sockets, retransmission, limits and what a
// client is told. This package turns blocks into files and back. It never opens
// a file: the caller's Create does.
package upload
