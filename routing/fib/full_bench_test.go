package fib

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gaissmai/bart"

	"github.com/warrenvpn/warren/routing/fib/fibtest"
)

// full is the whole Internet table, made once for all benchmarks: in a Table, which they change and leave as it was, and in
// bart.Fast. Routes lead to some hundred groups.
var full = sync.OnceValues(func() (*fullTable, error) {
	from, err := fibtest.Internet()
	if err != nil {
		return nil, err
	}
	f := &fullTable{prefixes: from.Prefixes, origin: from.Origin, table: New(Options{}), fast: new(bart.Fast[*group])}
	f.v4, f.v6 = from.Split()
	for i, p := range f.prefixes {
		f.fast.Insert(p, newGroup(fullHops(i), nil))
	}
	return f, f.table.Apply(f.changes())
})

type fullTable struct {
	prefixes []netip.Prefix
	v4, v6   []netip.Prefix
	origin   string
	table    *Table
	fast     *bart.Fast[*group]
}

func fullHops(i int) []Hop { return []Hop{{HopID(1 + uint32(i)*2654435761>>25), 1}} }

func (f *fullTable) changes() []Change {
	all := make([]Change, len(f.prefixes))
	for i, p := range f.prefixes {
		all[i] = Change{p, fullHops(i)}
	}
	return all
}

func theFull(tb testing.TB) *fullTable {
	tb.Helper()
	f, err := full()
	if err != nil {
		tb.Fatal(err)
	}
	if f.table.view.Load().flat == nil {
		tb.Fatal("the table is not flat")
	}
	tb.Log("table:", f.origin)
	return f
}

const batch = 64

func keys4(addrs []netip.Addr) []uint32 {
	keys := make([]uint32, len(addrs))
	for i, a := range addrs {
		b := a.As4()
		keys[i] = binary.BigEndian.Uint32(b[:])
	}
	return keys
}

func keys6(addrs []netip.Addr) []Key6 {
	keys := make([]Key6, len(addrs))
	for i, a := range addrs {
		keys[i] = key6(a)
	}
	return keys
}

// BenchmarkFullLookup4 is a lookup among the whole table: warren's, and bart.Fast from the same keys. One operation is one address.
func BenchmarkFullLookup4(b *testing.B) {
	f := theFull(b)
	for _, n := range []int{1 << 16, 1 << 20} {
		dst, out := keys4(fibtest.Destinations(rand.New(rand.NewPCG(1, 1)), f.v4, n)), make([]Group, batch)
		b.Run(fmt.Sprintf("warren/%d", n), func(b *testing.B) {
			for i := 0; i < b.N; i += batch {
				f.table.LookupBatch4(dst[i&(n-1):][:batch], out)
			}
		})
		b.Run(fmt.Sprintf("bart.Fast/%d", n), func(b *testing.B) {
			var a [4]byte
			for i := range b.N {
				binary.BigEndian.PutUint32(a[:], dst[i&(n-1)])
				out[i%batch], _ = f.fast.Lookup(netip.AddrFrom4(a))
			}
		})
	}
}

// BenchmarkFullLookup6 is the same for IPv6.
func BenchmarkFullLookup6(b *testing.B) {
	f := theFull(b)
	for _, n := range []int{1 << 16, 1 << 20} {
		dst, out := keys6(fibtest.Destinations(rand.New(rand.NewPCG(1, 1)), f.v6, n)), make([]Group, batch)
		b.Run(fmt.Sprintf("warren/%d", n), func(b *testing.B) {
			for i := 0; i < b.N; i += batch {
				f.table.LookupBatch6(dst[i&(n-1):][:batch], out)
			}
		})
		b.Run(fmt.Sprintf("bart.Fast/%d", n), func(b *testing.B) {
			var a [16]byte
			for i := range b.N {
				k := dst[i&(n-1)]
				binary.BigEndian.PutUint64(a[:8], k.Hi)
				binary.BigEndian.PutUint64(a[8:], k.Lo)
				out[i%batch], _ = f.fast.Lookup(netip.AddrFrom16(a))
			}
		})
	}
}

// BenchmarkFullChange is one change of a full table: another group, or a route that goes and comes back.
func BenchmarkFullChange(b *testing.B) {
	f := theFull(b)
	for _, family := range []struct {
		name string
		of   []netip.Prefix
	}{{"ipv4", f.v4}, {"ipv6", f.v6}} {
		r := rand.New(rand.NewPCG(2, 2))
		b.Run("replace/"+family.name, func(b *testing.B) {
			for range b.N {
				_ = f.table.Insert(family.of[r.IntN(len(family.of))], fullHops(r.IntN(100)))
			}
		})
		b.Run("flap/"+family.name, func(b *testing.B) {
			for range b.N / 2 {
				p := family.of[r.IntN(len(family.of))]
				hops, _ := f.table.Get(p)
				f.table.Delete(p)
				_ = f.table.Insert(p, hops)
			}
		})
	}
}

// BenchmarkFullReader is the lookups of BenchmarkFullLookup4 and 6, taken in turns: while nothing changes, while another
// goroutine makes some 100,000 changes a second, and while it makes as many as it can. In the latter two, each
// second stretch of lookups is without changes, so that kept-% compares what a machine whose speed wanders gave at nearly the
// same time.
func BenchmarkFullReader(b *testing.B) {
	f := theFull(b)
	const n = 1 << 16
	r := rand.New(rand.NewPCG(3, 3))
	dst4, dst6 := keys4(fibtest.Destinations(r, f.v4, n)), keys6(fibtest.Destinations(r, f.v6, n))
	out := make([]Group, batch)
	read := func(count int) {
		for i := 0; i < count; i += batch {
			if at := i & (n - 1); i&batch == 0 {
				f.table.LookupBatch4(dst4[at:][:batch], out)
			} else {
				f.table.LookupBatch6(dst6[at:][:batch], out)
			}
		}
	}
	b.Run("alone/65536", func(b *testing.B) { read(b.N) })
	for _, writer := range []struct {
		name string
		rate float64
	}{{"100k", 105e3}, {"most", 1e9}} {
		b.Run("changes-"+writer.name+"/65536", func(b *testing.B) {
			w := &changer{full: f, rate: writer.rate}
			var done sync.WaitGroup
			done.Go(w.run)
			var took [2]time.Duration
			stretch := max(batch, min(b.N/2, 4*n)) // some milliseconds
			for i := 0; i < b.N; i += stretch {
				on := i / stretch % 2
				w.active.Store(on == 1)
				start := time.Now()
				read(stretch)
				took[on] += time.Since(start)
			}
			b.StopTimer()
			w.stop.Store(true)
			done.Wait()
			b.ReportMetric(float64(w.made)/took[1].Seconds(), "changes/s")
			b.ReportMetric(100*took[0].Seconds()/took[1].Seconds(), "kept-%")
		})
	}
}

// changer makes so many changes a second while it is active, half of them other groups, the others routes that go and come back.
type changer struct {
	full         *fullTable
	rate         float64
	active, stop atomic.Bool
	made         int
}

func (w *changer) run() {
	r := rand.New(rand.NewPCG(4, 4))
	var active time.Duration
	for last := time.Now(); !w.stop.Load(); {
		now := time.Now()
		if w.active.Load() {
			active += now.Sub(last)
		}
		if last = now; !w.active.Load() || float64(w.made) > active.Seconds()*w.rate {
			time.Sleep(100 * time.Microsecond)
			continue
		}
		var changes []Change
		for range 10 {
			p, hops := w.full.prefixes[r.IntN(len(w.full.prefixes))], fullHops(r.IntN(100))
			changes = append(changes, Change{p, hops}, Change{p, fullHops(r.IntN(100))}, Change{p, nil}, Change{p, hops})
		}
		_ = w.full.table.Apply(changes)
		w.made += len(changes)
	}
}

// BenchmarkFullLoad is a whole table from nothing, in Apply's of 1,000 changes, and out again in the same way: in the order of
// the file, and in one that no cache foresees. It reports CPU time, the collector's too, and the memory between.
func BenchmarkFullLoad(b *testing.B) {
	f := theFull(b)
	changes := f.changes()
	load := func(b *testing.B) {
		for range b.N {
			t := New(Options{})
			apply := func(what string, hops func(i int) []Hop) {
				for i := range changes {
					changes[i].Hops = hops(i)
				}
				runtime.GC()
				start := cpuTime()
				for part := range slices.Chunk(changes, 1000) {
					_ = t.Apply(part)
				}
				b.ReportMetric(float64((cpuTime()-start).Nanoseconds())/float64(len(changes)), what)
			}
			base := heap()
			apply("in-cpu-ns/route", fullHops)
			b.ReportMetric(float64(heap()-base)/1e6, "MB")
			apply("out-cpu-ns/route", func(int) []Hop { return nil })
			runtime.KeepAlive(t)
		}
	}
	b.Run("sorted", load)
	rand.New(rand.NewPCG(5, 5)).Shuffle(len(changes), func(i, j int) { changes[i], changes[j] = changes[j], changes[i] })
	b.Run("shuffled", load)
}

// heap is how much is in use once the collector has been round.
func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
