package tftp

import (
	"fmt"
	"io"
	"slices"
	"time"
)

// chunkSize is the unit in which files are read: 45 blocks of 1428 bytes, and
// some 20 µs out of the page cache.
const (
	chunkSize = 64 << 10
	readers   = 32  // chunks that are read at the same time
	perFile   = 2   // and of one file: it may be on a disk that hangs
	chunkCost = 512 // bytes that keeping a chunk takes beside its data, for files of a few bytes
)

// A cache holds what was read of files in chunks, of which the least recently
// used go. It is guarded by the engine's lock; files are read without it.
type cache struct {
	e      *engine
	files  map[any]*file
	open   int // sources
	chunks map[place]*chunk
	used   chunk // the list's ring: older is the most recent, newer the least
	bytes  int   // of all buffers in chunks
	free   [][]byte

	queue   []*chunk // to be read
	reading int
	user    *transfer // its pieces are in hand
}

// A file is one that is sent, to many clients perhaps.
type file struct {
	src    *Source // nil: nobody needs it, but some of it is in memory
	key    any
	size   int64 // bytes, -1 where it shows at the end
	refs   int   // transfers and reads
	queued int   // reads that wait for their turn
	now    int   // and those that are under way
	chunks int
}

type place struct {
	file  *file
	index int64
}

// A chunk is chunkSize bytes of a file, less at its end.
type chunk struct {
	place
	data         []byte
	err          error
	ready        bool // data is there, or err
	slow         bool // it had to be waited for
	waiting      []*transfer
	older, newer *chunk
}

func (c *cache) init(e *engine) {
	c.e, c.files, c.chunks = e, map[any]*file{}, map[place]*chunk{}
	c.used.older, c.used.newer = &c.used, &c.used
}

// shares reports whether a source that is open already will do for src.
func (c *cache) shares(src *Source) bool {
	f := c.files[src.Key]
	return src.Key != nil && f != nil && f.src != nil
}

// take has a transfer use src, or another that is the same: then src is spare.
func (c *cache) take(src *Source) (f *file, spare *Source) {
	if f = c.files[src.Key]; src.Key == nil || f == nil {
		f = &file{key: src.Key, size: src.Size}
		if f.key != nil {
			c.files[f.key] = f
		}
	}
	f.refs++
	if f.src != nil {
		return f, src
	}
	f.src = src
	c.open++
	return f, nil
}

// close returns the source that nobody needs any more, or nil.
func (c *cache) close(f *file) *Source {
	if f == nil {
		return nil
	}
	if f.refs--; f.refs > 0 {
		if f.refs != f.queued {
			return nil
		}
		// Nobody waits for what is left to be read, and the disk may be slow.
		f.refs, f.queued = 0, 0
		c.queue = slices.DeleteFunc(c.queue, func(k *chunk) bool {
			if k.file != f {
				return false
			}
			c.drop(k)
			return true
		})
	}
	src := f.src
	f.src = nil
	c.open--
	c.tidy(f)
	return src
}

// tidy forgets a file of which nothing is left.
func (c *cache) tidy(f *file) {
	if f.refs == 0 && f.chunks == 0 && f.key != nil {
		delete(c.files, f.key)
	}
}

// chunk returns a chunk of a file that is open, and has it read if need be. It
// is nil behind the file's end.
func (c *cache) chunk(f *file, index int64) *chunk {
	at := place{f, index}
	k := c.chunks[at]
	switch {
	case k != nil:
		k.unlink()
	case f.size >= 0 && index*chunkSize >= f.size:
		return nil
	default:
		k = &chunk{place: at}
		c.chunks[at] = k
		f.chunks++
		if !c.readNow(k) {
			f.refs++
			f.queued++
			c.read(k)
		}
	}
	k.link(&c.used)
	return k
}

// ahead has the chunks read that follow one that had to be waited for, for n
// bytes.
func (c *cache) ahead(k *chunk, n int64) {
	if k.ready && !k.slow {
		return
	}
	f, index := k.file, k.index+1
	n = min(n, int64(c.e.limits.Cache)/8)
	for last := index + n/chunkSize; index <= last; index++ {
		if c.chunks[place{f, index}] == nil && c.chunk(f, index) == nil {
			return
		}
	}
}

func (k *chunk) link(ring *chunk) {
	k.older, k.newer = ring.older, ring
	k.older.newer, k.newer.older = k, k
}

func (k *chunk) unlink() {
	k.older.newer, k.newer.older = k.newer, k.older
}

// drop takes a chunk out.
func (c *cache) drop(k *chunk) {
	k.unlink()
	delete(c.chunks, k.place)
	c.give(k.data)
	k.file.chunks--
	c.tidy(k.file)
	k.place, k.data = place{}, nil
}

// give takes a buffer back.
func (c *cache) give(buf []byte) {
	if buf == nil {
		return // it was not read
	}
	c.bytes -= cap(buf) + chunkCost
	if cap(buf) == chunkSize && len(c.free) < readers {
		c.free = append(c.free, buf[:chunkSize])
	}
}

// readNow reads a chunk if that needs no wait.
func (c *cache) readNow(k *chunk) bool {
	src, ok := k.file.src.ReaderAt.(NowReader)
	if !ok {
		return false
	}
	buf := c.room(chunkLen(k.file, k.index))
	if n, err := src.ReadAtNow(buf, k.index*chunkSize); n < len(buf) || err != nil {
		c.give(buf)
		return false
	}
	k.data, k.ready = buf, true
	return true
}

// read has a chunk read by a goroutine.
func (c *cache) read(k *chunk) {
	c.queue = append(c.queue, k)
	if c.reading == readers {
		return
	}
	c.reading++
	c.e.jobs.Go(c.work)
}

// work reads chunks while there are some to read.
func (c *cache) work() {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	for {
		i := slices.IndexFunc(c.queue, func(k *chunk) bool { return k.file.now < perFile })
		if i < 0 {
			break // who reads of those files looks again
		}
		k := c.queue[i]
		c.queue = slices.Delete(c.queue, i, i+1)
		f := k.file
		f.queued--
		f.now++
		buf := c.room(chunkLen(f, k.index))
		c.e.mu.Unlock()
		n, err := f.src.ReadAt(buf, k.index*chunkSize)
		c.e.mu.Lock()
		f.now--
		c.done(k, buf, n, err)
		if src := c.close(f); src != nil {
			c.e.crew.do(c.e, job{run: src.close})
		}
		c.e.flush()
	}
	c.reading--
}

func chunkLen(f *file, index int64) int {
	if f.size < 0 {
		return chunkSize
	}
	return int(min(f.size-index*chunkSize, chunkSize))
}

// room makes a buffer, of what was used least recently if need be.
func (c *cache) room(n int) []byte {
	c.bytes += chunkCost
	for k := c.used.newer; c.bytes+n > c.e.limits.Cache && k != &c.used; {
		next := k.newer
		if k.ready && (c.user == nil || k != c.user.pieces[0] && k != c.user.pieces[1]) {
			c.e.flush() // it may be on its way out
			c.drop(k)
		}
		k = next
	}
	if last := len(c.free) - 1; last >= 0 && n > chunkSize/2 {
		buf := c.free[last]
		c.free = c.free[:last]
		c.bytes += chunkSize
		return buf[:n]
	}
	c.bytes += n
	return make([]byte, n)
}

// done takes what was read, and has those go on that waited for it.
func (c *cache) done(k *chunk, buf []byte, n int, err error) {
	if n < len(buf) && k.file.size >= 0 {
		if err == nil || err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		k.err = fmt.Errorf("read at %d: %w", k.index*chunkSize+int64(n), err)
	} else if err != nil && err != io.EOF {
		k.err = fmt.Errorf("read at %d: %w", k.index*chunkSize+int64(n), err)
	}
	k.data, k.ready, k.slow = buf[:n], true, true
	waiting := k.waiting
	k.waiting = nil
	c.e.now = time.Now()
	for _, t := range waiting {
		if t.missing == k {
			t.missing = nil
			t.send()
		}
	}
	if k.err != nil && k.file != nil {
		c.drop(k) // another time it may be there
	}
}
