package boot

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// A plan must bound the device's work: sizes, digests and sources. One that
// lacks or falsifies them is refused.
func TestReadPlanRefuses(t *testing.T) {
	mac := MAC{2, 0, 0, 0, 0, 1}
	id := RandomHex(16)
	digest := strings.Repeat("0", 64)
	good := func() *Plan {
		return &Plan{V: PlanVersion, MAC: mac, Boot: id, Action: ActionBoot, Sources: []string{"http://h/"},
			Kernel: &File{"k", 1, digest}, Initrd: &File{"i", 1, digest}, Image: &Image{Name: "x", Size: 1, ManifestSHA256: digest}}
	}
	for name, spoil := range map[string]func(*Plan){
		"good":                  func(*Plan) {},
		"size of the kernel":    func(p *Plan) { p.Kernel.Size = 0 },
		"negative initrd":       func(p *Plan) { p.Kernel.Size, p.Initrd.Size = 1<<62, -1<<61 },
		"digest of the initrd":  func(p *Plan) { p.Initrd.SHA256 = "" },
		"sources":               func(p *Plan) { p.Sources = nil },
		"negative image":        func(p *Plan) { p.Action, p.Image.Size = ActionFlash, -1 },
		"digest in upper case":  func(p *Plan) { p.Action, p.Image.ManifestSHA256 = ActionFlash, strings.Repeat("A", 64) },
		"ignore is no plan":     func(p *Plan) { p.Action = ActionIgnore },
		"another machine's MAC": func(p *Plan) { p.MAC[5]++ },
		"another boot":          func(p *Plan) { p.Boot = RandomHex(16) },
	} {
		t.Run(name, func(t *testing.T) {
			p := good()
			spoil(p)
			raw, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := ReadPlan(raw, mac, id); (err == nil) != (name == "good") {
				t.Error(err)
			}
		})
	}
	for _, raw := range []string{"", "null", "[]", strings.Repeat("[", 1<<15), `{"v":1,"a":` + strings.Repeat("[", 1<<15), strings.Repeat(" ", MaxPlan+1)} {
		t.Run(fmt.Sprintf("%.20q", raw), func(t *testing.T) {
			if _, err := ReadPlan([]byte(raw), mac, id); err == nil {
				t.Errorf("%.20q is a plan", raw)
			}
		})
	}
}
