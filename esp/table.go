package esp

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
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
	// reserved are SPIs that Allocate gave out and nobody has published or deleted. They are not in slots.
	reserved map[uint32]struct{}
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

// Insert adds an SPI that the caller chose. It reports false, and changes nothing, where the SPI is there already or
// reserved.
func (t *Table[T]) Insert(spi uint32, value T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.free(spi) {
		return false
	}
	t.insert(spi, value)
	return true
}

// Publish adds an SPI that Allocate reserved, so that Lookup finds it. It reports false, and changes nothing, where the SPI
// is not reserved.
func (t *Table[T]) Publish(spi uint32, value T) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.reserved[spi]; !ok {
		return false
	}
	delete(t.reserved, spi)
	t.insert(spi, value)
	return true
}

// ErrNoSPI says that no free SPI was found.
var ErrNoSPI = errors.New("no free SPI")

// allocateTries bounds Allocate: with half of all SPIs taken, it fails once in 2^128 times.
const allocateTries = 128

// Allocate reserves a random SPI of at least 256 (RFC 4303 section 2.1) for which SPI mod shards is shard, so that a filter
// can tell from the SPI which worker's packet it is. Lookup does not find it until it is published.
func (t *Table[T]) Allocate(shards, shard int) (uint32, error) {
	if shards < 1 || shards > 1<<16 || shard < 0 || shard >= shards {
		return 0, fmt.Errorf("esp: allocate an SPI for shard %d of %d: there are 1 to %d shards, counted from 0", shard, shards, 1<<16)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for range allocateTries {
		var b [4]byte
		rand.Read(b[:]) // never fails (Go 1.24)
		if spi := shardSPI(binary.BigEndian.Uint32(b[:]), shards, shard); t.reserve(spi) {
			return spi, nil
		}
	}
	return 0, fmt.Errorf("esp: %w for shard %d of %d", ErrNoSPI, shard, shards)
}

// shardSPI moves a random number to the shard, by less than the number of shards. It returns 0 where that leads out of 32
// bits.
func shardSPI(random uint32, shards, shard int) uint32 {
	n := uint64(random) - uint64(random)%uint64(shards) + uint64(shard)
	if n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// reserve takes an SPI if it may be given out. The caller holds t.mu.
func (t *Table[T]) reserve(spi uint32) bool {
	if spi < 256 || !t.free(spi) {
		return false
	}
	if t.reserved == nil {
		t.reserved = map[uint32]struct{}{}
	}
	t.reserved[spi] = struct{}{}
	return true
}

// free says whether an SPI may be given out. The caller holds t.mu.
func (t *Table[T]) free(spi uint32) bool {
	_, live := t.Lookup(spi)
	_, reserved := t.reserved[spi]
	return !live && !reserved
}

// insert adds an SPI that is free. The caller holds t.mu.
func (t *Table[T]) insert(spi uint32, value T) {
	slots := t.slots.Load()
	if slots == nil || 4*(t.used+1) > 3*len(*slots) {
		slots = t.rebuild()
	}
	if t.place(*slots, &entry[T]{spi: spi, value: value}) {
		t.used++
	}
	t.live++
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

// Delete removes an SPI, which may be only reserved, and reports whether it was there.
func (t *Table[T]) Delete(spi uint32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if _, ok := t.reserved[spi]; ok {
		delete(t.reserved, spi)
		return true
	}
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

// Len returns how many SPIs Lookup finds.
func (t *Table[T]) Len() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.live
}
