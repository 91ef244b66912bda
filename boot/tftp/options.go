package tftp

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

const (
	defaultBlksize = 512   // RFC 1350, where nobody asked for another
	minBlksize     = 8     // RFC 2348
	maxBlksize     = 65464 // RFC 2348
)

// Options are those of a request, or those that were granted. The zero value
// of each means that it was not asked for.
type Options struct {
	Blksize    int           // bytes of a block, 8 to 65464 (RFC 2348)
	TSize      bool          // whether the size was asked for (RFC 2349)
	Size       int64         // with TSize: the file's size in bytes; 0 in a read request
	Timeout    time.Duration // whole seconds, 1 to 255, between retransmissions (RFC 2349)
	Windowsize int           // blocks between ACKs, 1 to 65535 (RFC 7440)
}

// set takes one option. Names are read in any case (RFC 2347). Of an option that
// comes twice the first counts. A value out of its range is an error, and so is
// an option that this package does not implement.
func (o *Options) set(name, value string) error {
	n, err := strconv.ParseUint(value, 10, 63)
	if err != nil {
		return fmt.Errorf("option %q: value %q is not a number", name, value)
	}
	switch strings.ToLower(name) {
	case "blksize":
		if n < minBlksize {
			return fmt.Errorf("option blksize: %d is less than %d", n, minBlksize)
		}
		if o.Blksize == 0 {
			// Too large a wish can be granted in part.
			o.Blksize = int(min(n, maxBlksize))
		}
	case "tsize":
		if !o.TSize {
			o.TSize, o.Size = true, int64(n)
		}
	case "timeout":
		if n < 1 || n > 255 {
			return fmt.Errorf("option timeout: %d is not from 1 to 255", n)
		}
		if o.Timeout == 0 {
			o.Timeout = time.Duration(n) * time.Second
		}
	case "windowsize":
		if n < 1 || n > 65535 {
			return fmt.Errorf("option windowsize: %d is not from 1 to 65535", n)
		}
		if o.Windowsize == 0 {
			o.Windowsize = int(n)
		}
	default:
		return fmt.Errorf("option %q is unknown", name)
	}
	return nil
}

// appendTo writes the options that are set, always in one order.
func (o Options) appendTo(b []byte) []byte {
	pair := func(name string, value int64) {
		b = append(append(b, name...), 0)
		b = append(strconv.AppendInt(b, value, 10), 0)
	}
	if o.TSize {
		pair("tsize", o.Size)
	}
	if o.Blksize != 0 {
		pair("blksize", int64(o.Blksize))
	}
	if o.Timeout != 0 {
		pair("timeout", int64(o.Timeout/time.Second))
	}
	if o.Windowsize != 0 {
		pair("windowsize", int64(o.Windowsize))
	}
	return b
}

// within checks what a server granted against what was asked: no other option,
// no larger block, no wider window. Otherwise it returns an error.
func (o Options) within(asked Options) error {
	switch {
	case o.Blksize > asked.Blksize:
		return fmt.Errorf("server granted blksize %d, asked was %d", o.Blksize, asked.Blksize)
	case o.Windowsize > asked.Windowsize:
		return fmt.Errorf("server granted windowsize %d, asked was %d", o.Windowsize, asked.Windowsize)
	case o.Timeout != 0 && o.Timeout != asked.Timeout: // RFC 2349: equal or nothing
		return fmt.Errorf("server granted timeout %v, asked was %v", o.Timeout, asked.Timeout)
	case o.TSize && !asked.TSize:
		return fmt.Errorf("server granted tsize, which was not asked for")
	}
	return nil
}
