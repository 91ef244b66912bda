// Package tftp is the Trivial File Transfer Protocol: a server engine and a
// client, with the options that matter on a LAN. It follows RFC 1350 (the
// protocol), RFC 2347 (options), RFC 2348 (blksize), RFC 2349 (timeout, tsize)
// and RFC 7440 (windowsize).
//
// Downloads, the path that every machine boots over, are the package's own.
// Uploads are rare and go through github.com/pin/tftp, behind checks that keep
// a hostile client from harming it.
//
// The package knows nothing of files: a [Server] asks Open and Create, a
// [Client] reads and writes streams.
package tftp
