package boot

import "strings"

// MaxReport bounds a report in bytes.
const MaxReport = 64 << 10

// A Report is what a device posts to ReportURL, with the token of its plan.
// The answer is 204 once the events are in the journal. It is 400 or 403 where
// sending it again would not help.
type Report struct {
	Boot   string  `json:"boot"`
	Job    string  `json:"job"`
	Events []Event `json:"events"` // Session tells them apart within a boot
}

// ReportURL is where a machine reports. base is Plan.Report.
func ReportURL(base string, mac MAC) string {
	return strings.TrimSuffix(base, "/") + "/api/machines/" + mac.String() + "/events"
}

// A Row is what the API says of one machine.
type Row struct {
	Machine
	Status string  `json:"status"`           // a few words, see Kinds
	Last   *Event  `json:"last,omitempty"`   // the latest event
	Events []Event `json:"events,omitempty"` // only of /api/machines/<id>
}

// An Order is what a person asks of one machine, ahead of its profile.
type Order struct {
	Action    Action `json:"action"` // one whose row says InOrder
	Overwrite bool   `json:"overwrite,omitempty"`
}
