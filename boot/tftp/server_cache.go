package tftp

import (
	"fmt"
	"io"
	"slices"
	"time"
)

const (
	// chunkSize is the unit in which files are read: 45 blocks of 1428 bytes,
	// and some 20 µs out of the page cache.
	chunkSize = 64 << 10

	maxReads     = 32  // chunks that are read at the same time
	maxFileReads = 2   // and of one file: it may be on a disk that hangs
	chunkCost    = 512 // bytes that a chunk takes beside its data, for files of a few bytes
)

// A cache holds what was read of files, in chunks. The least recently used ones
// go. The engine's lock guards it; files are read without the lock.
type cache struct {
	e      *engine
	files  map[any]*file
	open   int // sources
	chunks map[place]*chunk
	lru    chunk    // head of the list: lru.older is the most recent, lru.newer the least
	bytes  int      // of all buffers in chunks, and chunkCost for each
	spare  [][]byte // buffers of chunkSize

	queue   []*chunk // to be read
	reading int
	user    *transfer // whose chunks are in hand
}

// A file is one that is sent, perhaps to many clients.
type file struct {
	src     *Source // nil: nobody needs it, but some of it is in memory
	key     any
	size    int64 // bytes, -1 where it shows at the end
	refs    int   // transfers and reads
	queued  int   // reads that wait for their turn
	reading int   // reads under way
	chunks  int
}

// onlyUser reports whether one transfer alone keeps the file open.
func (f *file) onlyUser() bool { return f != nil && f.refs-f.queued == 1 }

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
	c.lru.older, c.lru.newer = &c.lru, &c.lru
}

// shares reports whether a source that is open already will do for src.
func (c *cache) shares(src *Source) bool {
	f := c.files[src.Key]
	return src.Key != nil && f != nil && f.src != nil
}

// take has a transfer use src, or another that is the same. Then src is spare.
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

// release ends one use of a file. It returns the source if nobody needs it any
// more, for the caller to close.
func (c *cache) release(f *file) *Source {
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
	c.forget(f)
	return src
}

// forget drops a file of which nothing is left.
func (c *cache) forget(f *file) {
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
			c.queueRead(k)
		}
	}
	k.link(&c.lru)
	return k
}

// readOn has the chunks read that follow one that had to be waited for, up to n
// bytes.
func (c *cache) readOn(k *chunk, n int64) {
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

func (k *chunk) link(head *chunk) {
	k.older, k.newer = head.older, head
	k.older.newer, k.newer.older = k, k
}

func (k *chunk) unlink() {
	k.older.newer, k.newer.older = k.newer, k.older
}

// drop takes a chunk out.
func (c *cache) drop(k *chunk) {
	k.unlink()
	delete(c.chunks, k.place)
	c.recycle(k.data)
	k.file.chunks--
	c.forget(k.file)
	k.place, k.data = place{}, nil
}

// recycle takes a buffer back.
func (c *cache) recycle(buf []byte) {
	if buf == nil {
		return // the chunk was not read
	}
	c.bytes -= cap(buf) + chunkCost
	if cap(buf) == chunkSize && len(c.spare) < maxReads {
		c.spare = append(c.spare, buf[:chunkSize])
	}
}

// readNow reads a chunk if that needs no wait.
func (c *cache) readNow(k *chunk) bool {
	src, ok := k.file.src.ReaderAt.(NowReader)
	if !ok {
		return false
	}
	buf := c.buffer(chunkLen(k.file, k.index))
	if n, err := src.ReadAtNow(buf, k.index*chunkSize); n < len(buf) || err != nil {
		c.recycle(buf)
		return false
	}
	k.data, k.ready = buf, true
	return true
}

// queueRead has a chunk read by a goroutine.
func (c *cache) queueRead(k *chunk) {
	c.queue = append(c.queue, k)
	if c.reading == maxReads {
		return
	}
	c.reading++
	c.e.running.Go(c.readQueue)
}

// readQueue reads chunks while there are some to read.
func (c *cache) readQueue() {
	c.e.mu.Lock()
	defer c.e.mu.Unlock()
	for {
		i := slices.IndexFunc(c.queue, func(k *chunk) bool { return k.file.reading < maxFileReads })
		if i < 0 {
			// The files are at their limit. The goroutine that reads one picks up
			// its next chunk.
			break
		}
		k := c.queue[i]
		c.queue = slices.Delete(c.queue, i, i+1)
		f := k.file
		f.queued--
		f.reading++
		buf := c.buffer(chunkLen(f, k.index))
		c.e.mu.Unlock()
		n, err := f.src.ReadAt(buf, k.index*chunkSize)
		c.e.mu.Lock()
		f.reading--
		c.finish(k, buf, n, err)
		if src := c.release(f); src != nil {
			c.e.workers.do(c.e, job{run: src.close})
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

// buffer returns a buffer of n bytes. Where the cache is full it drops the
// least recently used chunks first.
func (c *cache) buffer(n int) []byte {
	c.bytes += chunkCost
	for k := c.lru.newer; c.bytes+n > c.e.limits.Cache && k != &c.lru; {
		newer := k.newer
		if k.ready && (c.user == nil || k != c.user.read.chunks[0] && k != c.user.read.chunks[1]) {
			c.e.flush() // the writer may hold pointers to it
			c.drop(k)
		}
		k = newer
	}
	if last := len(c.spare) - 1; last >= 0 && n > chunkSize/2 {
		buf := c.spare[last]
		c.spare = c.spare[:last]
		c.bytes += chunkSize
		return buf[:n]
	}
	c.bytes += n
	return make([]byte, n)
}

// finish takes what was read, and has the transfers go on that waited for it.
func (c *cache) finish(k *chunk, buf []byte, n int, err error) {
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
		if t.read.missing == k {
			t.read.missing = nil
			t.send()
		}
	}
	if k.err != nil && k.file != nil {
		c.drop(k) // another time it may be there
	}
}
