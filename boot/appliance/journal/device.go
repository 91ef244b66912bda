package journal

import (
	"slices"

	"github.com/bootlace/bootlace/boot"
)

// Device lists the kinds of events that a device reports; all others are the
// appliance's own.
var Device = []boot.Kind{
	boot.KindStart, boot.KindPull, boot.KindWrite, boot.KindVerify, boot.KindLocal,
	boot.KindWaiting, boot.KindRetry, boot.KindDone, boot.KindFailed, boot.KindHandover,
}

// FromDevice reports whether events of kind k are reported by devices.
func FromDevice(k boot.Kind) bool { return slices.Contains(Device, k) }
