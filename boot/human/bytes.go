package human

import "fmt"

// Bytes writes a number of bytes with a binary unit: 512 B, 107.5 MiB. It takes
// at most nine columns.
func Bytes(n int64) string {
	if n < 1<<10 {
		return fmt.Sprintf("%d B", n)
	}
	v, unit := float64(n), ""
	for _, unit = range []string{"KiB", "MiB", "GiB", "TiB", "PiB", "EiB"} {
		if v /= 1024; v < 999.95 {
			break
		}
	}
	return fmt.Sprintf("%.1f %s", v, unit)
}

// Size writes the exact size of a disk or an image: 256 MiB, 1025 MiB. Where no
// unit fits it adds the bytes: 232.9 GiB (250059350016 bytes).
func Size(n int64) string {
	units := []string{"KiB", "MiB", "GiB", "TiB"}
	for i := len(units) - 1; i >= 0; i-- {
		if unit := int64(1) << (10 * (i + 1)); n >= unit && n%unit == 0 && n/unit < 10_000 {
			return fmt.Sprintf("%d %s", n/unit, units[i])
		}
	}
	for i := len(units) - 1; i >= 0; i-- {
		if unit := int64(1) << (10 * (i + 1)); n >= unit {
			return fmt.Sprintf("%.1f %s (%d bytes)", float64(n)/float64(unit), units[i], n)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// Count writes a number of bytes in digits. A negative one is not known.
func Count(n int64) string {
	if n < 0 {
		return "an unknown number of bytes"
	}
	return fmt.Sprintf("%d bytes", n)
}
