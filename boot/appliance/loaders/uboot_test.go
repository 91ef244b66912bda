package loaders

import (
	"encoding/hex"
	"testing"
)

// The header and the CRCs are those of u-boot-tools' mkimage 2023.01:
// SOURCE_DATE_EPOCH=0 mkimage -A arm -T script -C none -n bootlace
func TestScriptImage(t *testing.T) {
	want := "27051956f502854700000000000000100000000000000000" + "1ffcb59405020600" +
		"626f6f746c616365000000000000000000000000000000000000000000000000" + "0000000800000000" + "707865206765740a"
	if got := hex.EncodeToString(scriptImage("pxe get\n")); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}
