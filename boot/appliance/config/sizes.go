package config

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"github.com/bootlace/bootlace/boot/appliance/ftp"
)

// size reads bytes with an optional unit: 512, 16MiB, 1GiB, 2GB.
func (d *decoder) size(key, text string, defaultSize int64) int64 {
	if text == "" {
		return defaultSize
	}
	return value(d, key, text, ParseSize, "a size, like 512MiB or 2GiB")
}

// ParseSize reads a number of bytes with an optional unit. KiB, MiB, GiB and
// TiB are powers of 1024. KB, MB, GB and TB are powers of 1000.
func ParseSize(text string) (int64, error) {
	digits := strings.TrimRight(text, "BKMGTiB ")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("parse size %q", text)
	}
	unit := strings.TrimSpace(text[len(digits):])
	base := int64(1000)
	if strings.HasSuffix(unit, "iB") {
		base, unit = 1024, strings.TrimSuffix(unit, "iB")
	} else {
		unit = strings.TrimSuffix(unit, "B")
	}
	power := strings.Index(" KMGT", cmp.Or(unit, " "))
	if power < 0 || len(unit) > 1 || (unit == "" && base == 1024) {
		return 0, fmt.Errorf("parse size %q: unknown unit", text)
	}
	for range power {
		if n > (1<<63-1)/base {
			return 0, fmt.Errorf("parse size %q: too large", text)
		}
		n *= base
	}
	return n, nil
}

func parsePorts(text string) (ftp.Config, error) {
	a, b, ok := strings.Cut(text, "-")
	from, err := strconv.ParseUint(a, 10, 16)
	to, err2 := strconv.ParseUint(b, 10, 16)
	if !ok || err != nil || err2 != nil || from == 0 || to < from {
		return ftp.Config{}, fmt.Errorf("parse ports %q", text)
	}
	return ftp.Config{PassiveFrom: uint16(from), PassiveTo: uint16(to)}, nil
}
