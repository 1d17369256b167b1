package rib

// queue is the entries that were touched, in that order, with what had won before. It is made of blocks, since it may be
// empty as a rule and yet, when a neighbour goes, as long as the table.
type queue struct{ head, tail *block }

type block struct {
	list []touched
	old  []path // of all in list, one after the other
	// read and readOld count what was popped.
	read, readOld int
	next          *block
}

type touched struct {
	id   uint32
	wins uint32 // how many of the block's old paths are the entry's
}

const blockSize = 256

func (q *queue) push(id uint32, e *entry) {
	if q.tail == nil || len(q.tail.list) == blockSize {
		b := &block{list: make([]touched, 0, blockSize)}
		if q.tail == nil {
			q.head = b
		} else {
			q.tail.next = b
		}
		q.tail = b
	}
	b := q.tail
	b.list = append(b.list, touched{id, uint32(e.wins)})
	for i := range int(e.wins) {
		b.old = append(b.old, *e.at(i))
	}
}

// pop returns the next entry and its old winners, which are good until the next push.
func (q *queue) pop() (id uint32, old []path, ok bool) {
	b := q.head
	if b != nil && b.read == len(b.list) {
		if b = b.next; b == nil {
			q.rewind()
			return 0, nil, false
		}
		q.head = b
	}
	if b == nil {
		return 0, nil, false
	}
	c := b.list[b.read]
	old = b.old[b.readOld : b.readOld+int(c.wins)]
	b.read++
	b.readOld += int(c.wins)
	return c.id, old, true
}

// rewind uses the last block again, where all of it was popped.
func (q *queue) rewind() {
	b := q.head
	clear(b.old)
	b.list, b.old, b.read, b.readOld = b.list[:0], b.old[:0], 0, 0
}
