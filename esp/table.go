package esp

import (
	"sync"
	"sync/atomic"
)

// Table finds what belongs to an SPI. Any number of readers look up without waiting; writers take turns. It is a hash table
// with linear probing whose slots are atomic pointers, replaced as a whole when it grows.
type Table[T any] struct {
	slots atomic.Pointer[[]atomic.Pointer[entry[T]]]

	mu   sync.Mutex
	live int // entries that count
	used int // slots that are not nil, tombstones included
}

// entry is immutable. A tombstone has gone set: probing goes on behind it.
type entry[T any] struct {
	spi   uint32
	gone  bool
	value T
}

const minSlots = 16

func slotOf(spi uint32, n int) int { return int(spi*0x9e3779b1>>7) & (n - 1) }

// Lookup returns what was inserted for the SPI.
func (t *Table[T]) Lookup(spi uint32) (value T, ok bool) {
	slots := t.slots.Load()
	if slots == nil {
		return value, false
	}
	s := *slots
	for i := slotOf(spi, len(s)); ; i = (i + 1) & (len(s) - 1) {
		e := s[i].Load()
		if e == nil {
			return value, false
		}
		if e.spi == spi && !e.gone {
			return e.value, true
		}
	}
}

// Insert adds an SPI. It reports false, and changes nothing, where the SPI is there already.
func (t *Table[T]) Insert(spi uint32, value T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, there := t.Lookup(spi); there {
		return false
	}
	slots := t.slots.Load()
	if slots == nil || 4*(t.used+1) > 3*len(*slots) {
		slots = t.rebuild()
	}
	if t.place(*slots, &entry[T]{spi: spi, value: value}) {
		t.used++
	}
	t.live++
	return true
}

// place puts e into the first slot that is free or holds a tombstone, and says whether it was free.
func (t *Table[T]) place(s []atomic.Pointer[entry[T]], e *entry[T]) (free bool) {
	i := slotOf(e.spi, len(s))
	for {
		old := s[i].Load()
		if old == nil || old.gone {
			s[i].Store(e)
			return old == nil
		}
		i = (i + 1) & (len(s) - 1)
	}
}

// rebuild publishes a table with room for as many entries again, without tombstones.
func (t *Table[T]) rebuild() *[]atomic.Pointer[entry[T]] {
	n := minSlots
	for n < 4*(t.live+1) {
		n *= 2
	}
	fresh := make([]atomic.Pointer[entry[T]], n)
	if old := t.slots.Load(); old != nil {
		for i := range *old {
			if e := (*old)[i].Load(); e != nil && !e.gone {
				t.place(fresh, e)
			}
		}
	}
	t.used = t.live
	t.slots.Store(&fresh)
	return &fresh
}

// Delete removes an SPI and reports whether it was there.
func (t *Table[T]) Delete(spi uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	slots := t.slots.Load()
	if slots == nil {
		return false
	}
	s := *slots
	for i := slotOf(spi, len(s)); ; i = (i + 1) & (len(s) - 1) {
		e := s[i].Load()
		if e == nil {
			return false
		}
		if e.spi == spi && !e.gone {
			s[i].Store(&entry[T]{gone: true})
			t.live--
			return true
		}
	}
}

// Len returns how many SPIs there are.
func (t *Table[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}
