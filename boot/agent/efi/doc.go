// Package efi lets a machine that was started by UEFI boot from its disk next
// time. It reads the disk's GPT and writes BootNext through efivarfs.
//
// The agent calls BootNext after a flash, and when a plan says to boot from the
// disk. The package owns the load options that carry our description. It never
// changes BootOrder or another's load option.
package efi
