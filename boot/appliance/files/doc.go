// Package files is the one way to a served byte, for every protocol.
//
// The servers of TFTP, FTP and HTTP call Tree.Open with the Client that asks.
// They explain a refusal with Explain, and tell Tree.Done how the request
// ended. The package owns the served folder, the names of served files, and the
// upload folder. It never decides what a machine gets, and speaks no protocol.
//
// # Names
//
// Everything in the root is served read-only, under one name in every protocol.
// Names that start with a dot are not served. Clean resolves each name from the
// network, inside an os.Root. No host path and no text of the operating system
// goes back to a client.
//
// # Made files
//
// Some files are made on the fly: plan/…, boot.ipxe, boot.scr.uimg,
// pxelinux.cfg/… and a Raspberry Pi's. A file of that name in the root goes
// before them, except below plan/.
//
// # Uploads
//
// Uploads are off by default. Then no client can write. The upload folder takes
// new files only, bounded in size and number.
package files
