package boot

import "time"

// An Event is one thing that happened to a machine. The journal keeps it. The
// log, the API and verdicts render it.
type Event struct {
	Seq     uint64        `json:"seq"`              // set by the journal
	Time    time.Time     `json:"time"`             // the appliance's clock
	Uptime  time.Duration `json:"uptime,omitempty"` // the device's clock, ns since its kernel started; 0 where the device did not say
	Machine string        `json:"machine"`          // Machine.ID
	MAC     MAC           `json:"mac"`
	Boot    string        `json:"boot,omitempty"`
	Job     string        `json:"job,omitempty"`
	Kind    Kind          `json:"kind"`
	Text    string        `json:"text,omitempty"`    // one line for a person, without the machine's name
	Proto   string        `json:"proto,omitempty"`   // dhcp, dhcp6, tftp, ftp, http
	File    string        `json:"file,omitempty"`    // as served
	Bytes   int64         `json:"bytes,omitempty"`   // moved so far, or in this step
	Total   int64         `json:"total,omitempty"`   // bytes that this step will take, 0 where unknown
	Took    time.Duration `json:"took,omitempty"`    // ns
	Disk    string        `json:"disk,omitempty"`    // serial of the disk
	Image   string        `json:"image,omitempty"`   // image name
	Digest  string        `json:"digest,omitempty"`  // manifest's SHA-256
	Session string        `json:"session,omitempty"` // number of the event within a boot, set by the device: a repeated POST is one event
}
