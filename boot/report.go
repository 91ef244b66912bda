package boot

import "strings"

// MaxReport bounds a report in bytes.
const MaxReport = 64 << 10

// A Report is what a device posts to ReportURL. Its plan's token authorizes it.
// Status 204 means that the journal has the events. After 400 or 403 the device
// does not send it again.
type Report struct {
	Boot   string  `json:"boot"`
	Job    string  `json:"job"`
	Events []Event `json:"events"` // Event.Session tells them apart within a boot
}

// ReportURL is the URL that a machine posts its reports to. base is
// Plan.Report.
func ReportURL(base string, mac MAC) string {
	return strings.TrimSuffix(base, "/") + "/api/machines/" + mac.String() + "/events"
}

// A Row is what the API says about one machine.
type Row struct {
	Machine
	Status string  `json:"status"`           // a few words, see KindRow.Phrase
	Last   *Event  `json:"last,omitempty"`   // the latest event
	Events []Event `json:"events,omitempty"` // only of /api/machines/<id>
}

// An Order is what a person asks of one machine. It goes before the machine's
// profile.
type Order struct {
	Action    Action `json:"action"` // one whose row says InOrder
	Overwrite bool   `json:"overwrite,omitempty"`
}
