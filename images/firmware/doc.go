// Package firmware makes what Bootlace boots machines with: a Debian kernel, an
// initramfs with the agent and the modules that a board needs, and both as one
// EFI program. The same source, toolchain and packages give the same bytes.
//
// cmd/mkboot calls it: a Builder for boards, Compile for a kernel of our own,
// a Source for the binary alone. It owns the cache of Debian packages and of
// compiled kernels.
//
// It runs apt, dpkg-deb, zstd, go and make as ordinary programs. It never needs
// root, never changes the machine's own package lists, and writes nothing but
// its cache, temporary files and the output folder.
package firmware
