// Package kexec starts another kernel in place of this one, without the firmware.
//
// The agent calls Load and then Exec for a plan's kernel. The package owns the
// places of the new kernel in physical memory. It never reads a file that it
// was not given, and never touches a disk.
package kexec
