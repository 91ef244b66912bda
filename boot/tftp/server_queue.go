package tftp

// A queue holds half-open transfers, oldest first. A transfer is in one queue
// at most.
type queue struct {
	head, tail *transfer
	n          int
}

func (q *queue) push(t *transfer) {
	t.life.halfOpen, t.life.older = true, q.tail
	if q.tail != nil {
		q.tail.life.newer = t
	} else {
		q.head = t
	}
	q.tail = t
	q.n++
}

// remove returns whether t was in the queue.
func (q *queue) remove(t *transfer) bool {
	if !t.life.halfOpen {
		return false
	}
	older, newer := t.life.older, t.life.newer
	if older != nil {
		older.life.newer = newer
	} else {
		q.head = newer
	}
	if newer != nil {
		newer.life.older = older
	} else {
		q.tail = older
	}
	t.life.halfOpen, t.life.older, t.life.newer = false, nil, nil
	q.n--
	return true
}
