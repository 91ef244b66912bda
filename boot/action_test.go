package boot

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// planOf returns a plan that holds all that any action needs.
func planOf(action Action, mac MAC, id string) *Plan {
	digest := strings.Repeat("0", 64)
	return &Plan{V: PlanVersion, MAC: mac, Boot: id, Action: action, Sources: []string{"http://h/"},
		Kernel: &File{"k", 1, digest}, Initrd: &File{"i", 1, digest}, Image: &Image{Name: "x", Size: 1, ManifestSHA256: digest}}
}

// Each row agrees with ReadPlan and with README.
func TestActionTable(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	mac, id := MAC{2, 0, 0, 0, 0, 1}, RandomHex(16)
	read := func(p *Plan) error {
		raw, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		_, err = ReadPlan(raw, mac, id)
		return err
	}
	for _, row := range ActionTable {
		t.Run(string(row.Action), func(t *testing.T) {
			if row.Doc == "" || !strings.Contains(string(readme), string(row.Action)) {
				t.Error("nobody says what it does")
			}
			if row.Action.Row().Doc != row.Doc {
				t.Error("Row returns another row")
			}
			if (row.check != nil) != row.NeedsSources() {
				t.Error("what it needs is not checked, or the check is of what it does not need")
			}
			if row.InOrder && !row.InPlan {
				t.Error("an order for it could never become a plan")
			}
			if err := read(planOf(row.Action, mac, id)); (err == nil) != row.InPlan {
				t.Errorf("a plan with all that there is: %v", err)
			}
			for name, spoil := range map[string]func(*Plan) (needed bool){
				"image":   func(p *Plan) bool { p.Image = nil; return row.NeedsImage },
				"kernel":  func(p *Plan) bool { p.Kernel = nil; return row.NeedsKernel },
				"sources": func(p *Plan) bool { p.Sources = nil; return row.NeedsSources() },
			} {
				p := planOf(row.Action, mac, id)
				if needed := spoil(p); row.InPlan && (read(p) != nil) != needed {
					t.Errorf("without %s: %v, needed: %v", name, read(p), needed)
				}
			}
		})
	}
	if row := Action("dance").Row(); row.InPlan || row.InOrder || row.InProfile {
		t.Errorf("an unknown action: %+v", row)
	}
}
