// Package loaders writes what boot loaders read: iPXE's scripts, U-Boot's boot
// script, the configurations of pxelinux and of a Raspberry Pi.
//
// The appliance's root calls it for files that are made on the fly. A Boot says
// which board loads what from where. The package owns the syntax of each loader
// and the names of its files. It decides nothing, and reads no file and no
// state.
package loaders
