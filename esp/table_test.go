package esp

import (
	"errors"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// TestTableAgainstMap does at random what a map does too.
func TestTableAgainstMap(t *testing.T) {
	r := seeded(t, 11)
	var table Table[int]
	model, reserved := map[uint32]int{}, map[uint32]bool{}
	for i := range 60000 {
		spi := uint32(256 + r.IntN(3000))
		if i > 50000 {
			spi = 256 + spi%300 // most are gone again: tombstones
		}
		_, live := model[spi]
		switch r.IntN(5) {
		case 0, 1:
			if got := table.Insert(spi, i); got != (!live && !reserved[spi]) {
				t.Fatalf("step %d: insert %d: %v", i, spi, got)
			} else if got {
				model[spi] = i
			}
		case 2:
			if got := table.Delete(spi); got != (live || reserved[spi]) {
				t.Fatalf("step %d: delete %d: %v", i, spi, got)
			}
			delete(model, spi)
			delete(reserved, spi)
		case 3:
			if i%50 == 0 {
				spi, err := table.Allocate(8, 3)
				if err != nil || spi%8 != 3 {
					t.Fatalf("step %d: allocate: %d, %v", i, spi, err)
				}
				reserved[spi] = true
				if i%100 == 0 && (!table.Publish(spi, i) || table.Publish(spi, i)) {
					t.Fatalf("step %d: publish %d", i, spi)
				} else if i%100 == 0 {
					model[spi] = i
					delete(reserved, spi)
				}
			}
		}
		want, there := model[spi]
		if got, ok := table.Lookup(spi); ok != there || got != want {
			t.Fatalf("step %d: look up %d: %d %v, want %d %v", i, spi, got, ok, want, there)
		}
	}
	for spi, want := range model {
		if got, ok := table.Lookup(spi); !ok || got != want {
			t.Fatalf("look up %d: %d %v, want %d", spi, got, ok, want)
		}
	}
	if table.Len() != len(model) {
		t.Errorf("%d entries, want %d", table.Len(), len(model))
	}
}

func TestAllocateSPI(t *testing.T) {
	var table Table[int]
	if _, ok := table.Lookup(256); ok || table.Delete(256) || table.Publish(256, 1) {
		t.Error("an empty table holds something")
	}
	seen := map[uint32]bool{}
	for _, shards := range []int{1, 2, 3, 7, 64, 65536} {
		for k := range 300 {
			shard := k % shards
			spi, err := table.Allocate(shards, shard)
			if err != nil || spi < 256 || int(spi)%shards != shard || seen[spi] {
				t.Fatalf("shard %d of %d: %#x, %v", shard, shards, spi, err)
			}
			seen[spi] = true
			if _, ok := table.Lookup(spi); ok {
				t.Fatal("found before it was published")
			}
			if table.Insert(spi, 1) {
				t.Fatal("a reserved SPI was inserted by another")
			}
			switch k % 3 {
			case 0:
				if !table.Publish(spi, k) {
					t.Fatal("not published")
				}
			case 1:
				if !table.Delete(spi) || table.Publish(spi, k) {
					t.Fatal("published after it was given back")
				}
				delete(seen, spi) // it may be given to another, if chance has it
			}
		}
	}
	for _, c := range [][2]int{{0, 0}, {2, 2}, {2, -1}, {1<<16 + 1, 0}} {
		if spi, err := table.Allocate(c[0], c[1]); err == nil || errors.Is(err, ErrNoSPI) {
			t.Errorf("shard %d of %d: %d, %v", c[1], c[0], spi, err)
		}
	}
}

func TestReserveTakesOnlyFreeSPIs(t *testing.T) {
	var table Table[int]
	table.Insert(1000, 1)
	table.mu.Lock()
	defer table.mu.Unlock()
	for _, c := range []struct {
		spi  uint32
		want bool
	}{{0, false}, {255, false}, {256, true}, {256, false}, {1000, false}, {1001, true}} {
		if got := table.reserve(c.spi); got != c.want {
			t.Errorf("SPI %d: %v, want %v", c.spi, got, c.want)
		}
	}
	for _, c := range []struct {
		random        uint32
		shards, shard int
		want          uint32
	}{
		{1003, 1, 0, 1003}, {1003, 4, 1, 1001}, {1000, 4, 3, 1003}, {1000, 7, 0, 994},
		{math.MaxUint32, 2, 0, math.MaxUint32 - 1}, {math.MaxUint32, 7, 3, math.MaxUint32}, {math.MaxUint32, 7, 4, 0},
	} {
		if got := shardSPI(c.random, c.shards, c.shard); got != c.want {
			t.Errorf("shardSPI(%d, %d, %d): %d, want %d", c.random, c.shards, c.shard, got, c.want)
		}
	}
}

// TestNothingIsFoundWhereSomethingWas looks up also SPI 0, which stands in front of what is not ESP (RFC 3948 section 2.2).
func TestNothingIsFoundWhereSomethingWas(t *testing.T) {
	var table Table[*int]
	for i := range uint32(12) {
		table.Insert(256+i, new(int))
	}
	for i := range uint32(12) {
		table.Delete(256 + i)
	}
	for spi := range uint32(300) {
		if v, ok := table.Lookup(spi); ok || v != nil || table.Delete(spi) {
			t.Fatalf("SPI %d is found", spi)
		}
	}
}

// TestTableReadersBesideWriter looks up what is always there while others come and go and the table grows and shrinks.
func TestTableReadersBesideWriter(t *testing.T) {
	const always, coming = 500, 3000
	var table Table[uint32]
	for i := range uint32(always) {
		table.Insert(1000+i*7, 1000+i*7)
	}
	var stop atomic.Bool
	var wg sync.WaitGroup
	for k := range 3 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(3, uint64(k)))
			for !stop.Load() {
				spi := 1000 + uint32(r.IntN(always))*7
				if got, ok := table.Lookup(spi); !ok || got != spi {
					t.Errorf("look up %d: %d, %v", spi, got, ok)
					return
				}
				spi = 100000 + uint32(r.IntN(coming))
				if got, ok := table.Lookup(spi); ok && got != spi {
					t.Errorf("look up %d: %d", spi, got)
					return
				}
			}
		})
	}
	for range 3 {
		for i := range uint32(coming) {
			table.Insert(100000+i, 100000+i)
		}
		for i := range uint32(coming) {
			table.Delete(100000 + i)
		}
	}
	stop.Store(true)
	wg.Wait()
	if table.Len() != always {
		t.Errorf("%d entries, want %d", table.Len(), always)
	}
}

// TestTableGrowsByFactors counts how often 100,000 insertions copy the table, and how far lookups probe.
func TestTableGrowsByFactors(t *testing.T) {
	const n = 100_000
	var table Table[int]
	rebuilt := 0
	slots := table.slots.Load()
	for i := range n {
		spi, err := table.Allocate(16, i%16)
		if err != nil || !table.Publish(spi, i) {
			t.Fatal(err)
		}
		if now := table.slots.Load(); now != slots {
			slots = now
			rebuilt++
		}
	}
	if rebuilt > 16 {
		t.Errorf("%d insertions rebuilt the table %d times", n, rebuilt)
	}
	longest, run := 0, 0
	for i := range *slots {
		run++
		if (*slots)[i].Load() == nil {
			run = 0
		}
		longest = max(longest, run)
	}
	if longest > 200 {
		t.Errorf("%d slots in a row are taken: the hash spreads badly", longest)
	}
	for i := range *slots {
		if e := (*slots)[i].Load(); e != nil && i%2 == 0 {
			table.Delete(e.spi)
		}
	}
}

// TestTombstonesDoNotFillTheTable lets many SPIs come and go one after the other, as rekeying does. A probe ends only at a
// slot that was never used.
func TestTombstonesDoNotFillTheTable(t *testing.T) {
	var table Table[int]
	for i := range uint32(20) {
		table.Insert(300+i, 0)
	}
	for i := range 10_000 {
		spi := uint32(1<<20 + i)
		table.Insert(spi, i)
		table.Delete(spi)
		slots, unused := *table.slots.Load(), 0
		for k := range slots {
			if slots[k].Load() == nil {
				unused++
			}
		}
		if 4*unused < len(slots) || len(slots) > 128 {
			t.Fatalf("after %d: %d of %d slots are unused, for %d entries", i, unused, len(slots), table.Len())
		}
	}
}

func BenchmarkTableLookup(b *testing.B) {
	for _, c := range []struct {
		name string
		n    int
	}{{"1", 1}, {"10000", 10000}, {"100000", 100000}} {
		b.Run(c.name, func(b *testing.B) {
			var table Table[*int]
			spis := make([]uint32, c.n)
			for i := range spis {
				spis[i], _ = table.Allocate(1, 0)
				table.Publish(spis[i], new(int))
			}
			b.ResetTimer()
			for i := range b.N {
				if _, ok := table.Lookup(spis[i%len(spis)]); !ok {
					b.Fatal("not found")
				}
			}
		})
	}
}

func BenchmarkTableInsert(b *testing.B) {
	var table Table[int]
	for i := range b.N {
		table.Insert(uint32(256+i), i)
	}
}
