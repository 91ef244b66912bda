// Package flash puts the blocks of an image on a disk.
//
// The agent and `bootlace flash` call it: Select finds the disk and refuses the
// wrong one, Write does the job. A producer of package source brings the
// blocks, in any order. The job writes what agrees with the manifest, reads
// everything back, and makes the disk bootable last.
//
// It owns the disk from Begin to Finish. It never writes a byte that the
// manifest does not name. It never fetches and never decodes.
package flash
