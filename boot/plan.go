package boot

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// PlanVersion is the value of Plan.V.
const PlanVersion = 1

// MaxPlan bounds a plan in bytes. A device reads it whole into memory.
const MaxPlan = 64 << 10

// A Plan tells one machine what to do in one boot. The machine fetches it from
// PlanName by TFTP. Anybody on the LAN can read it.
type Plan struct {
	V         int      `json:"v"`
	Machine   string   `json:"machine"` // Machine.ID
	MAC       MAC      `json:"mac"`     // of the link it was fetched over
	Boot      string   `json:"boot"`    // RandomHex(16), drawn by the device
	Job       string   `json:"job"`     // the same in every boot until the job is done
	Action    Action   `json:"action"`
	Image     *Image   `json:"image,omitempty"`
	Kernel    *File    `json:"kernel,omitempty"`
	Initrd    *File    `json:"initrd,omitempty"`
	Cmdline   string   `json:"cmdline,omitempty"`
	Disk      Disk     `json:"disk"`
	Flashed   *Flashed `json:"flashed,omitempty"` // for ActionLocal: which disk to boot
	Sources   []string `json:"sources"`           // base URLs in the profile's order, each ends in /
	TFTPMax   int64    `json:"tftp_max"`          // a larger file, in bytes as stored, is fetched by TFTP last
	Report    string   `json:"report"`            // base URL of the API, ends in /
	Token     string   `json:"token"`             // for events of this boot and job
	Text      string   `json:"text,omitempty"`    // for ActionWait: the reason, one line for the console
	Then      Next     `json:"then,omitempty"`
	OnFailure Next     `json:"on_failure,omitempty"`
	Sig       string   `json:"sig,omitempty"` // reserved
}

// A File is a file under the served root. The device checks its size and
// digest.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex
}

// An Image is a stored image and the digest of its manifest. The manifest is
// served as Name + images.ManifestSuffix.
type Image struct {
	Name           string `json:"name"`
	Size           int64  `json:"size"` // bytes as stored
	ManifestSize   int64  `json:"manifest_size"`
	ManifestSHA256 string `json:"manifest_sha256"`
}

// RandomHex draws n random bytes and writes them in hex. A boot's ID has 16
// bytes, a job's 8.
func RandomHex(n int) string {
	b := make([]byte, n)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// PlanName is the served name of a machine's plan for one boot.
func PlanName(mac MAC, boot string) string { return "plan/" + mac.Hyphens() + "/" + boot }

// ParsePlanName is the inverse of PlanName. It accepts colons in the MAC as
// well.
func ParsePlanName(name string) (mac MAC, boot string, err error) {
	rest, ok := strings.CutPrefix(name, "plan/")
	m, boot, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return mac, "", fmt.Errorf("parse plan name %q: want plan/<mac>/<boot>", name)
	}
	if mac, err = ParseMAC(m); err != nil {
		return mac, "", err
	}
	if raw, err := hex.DecodeString(boot); err != nil || len(raw) != 16 || strings.ToLower(boot) != boot {
		return mac, "", fmt.Errorf("parse plan name %q: boot is not 32 lower-case hex digits", name)
	}
	return mac, boot, nil
}

// Errors of ReadPlan that a device reports in their own words.
var (
	ErrPlanVersion = errors.New("plan is of a version that this firmware does not know")
	ErrPlanOther   = errors.New("plan is for another machine or boot")
	ErrPlanAction  = errors.New("plan asks for an action that this firmware does not know")
)

// ReadPlan parses and checks a plan. mac is that of the link the plan came
// over. A plan for another machine or boot is refused. So is a version or an
// action that this firmware does not know. The error wraps one of the ErrPlan
// values where one fits.
func ReadPlan(raw []byte, mac MAC, boot string) (*Plan, error) {
	if len(raw) > MaxPlan {
		return nil, fmt.Errorf("read plan: larger than %d bytes", MaxPlan)
	}
	var v struct{ V int }
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if v.V != PlanVersion {
		return nil, fmt.Errorf("read plan: v %d: %w", v.V, ErrPlanVersion)
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	p := new(Plan)
	if err := d.Decode(p); err != nil {
		return nil, fmt.Errorf("read plan: %w", err)
	}
	if p.MAC != mac || p.Boot != boot {
		return nil, fmt.Errorf("read plan: made for %s boot %q, this is %s boot %s: %w", p.MAC, p.Boot, mac, boot, ErrPlanOther)
	}
	if !p.Action.Row().InPlan {
		return nil, fmt.Errorf("read plan: action %q: %w", p.Action, ErrPlanAction)
	}
	return p, p.check()
}
