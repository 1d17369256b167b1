package kernel

import (
	"net/netip"
	"runtime"
	"testing"
	"time"

	"github.com/warrenvpn/warren/internal/until"
)

// BenchmarkFullTable installs, reads and removes a million routes of two next hops. One iteration is all of them.
func BenchmarkFullTable(b *testing.B) {
	ns := namespace(b)
	const n = 1_000_000
	hops := over("da", "db")
	for range b.N {
		table, stop := start(b, Config{Namespace: ns, Keep: true})
		began := time.Now()
		for i := range n {
			address := netip.AddrFrom4([4]byte{20 + byte(i>>16), byte(i >> 8), byte(i)})
			if err := table.Set(netip.PrefixFrom(address, 24), hops); err != nil {
				b.Fatal(err)
			}
		}
		if !until.Holds(time.Minute, func() bool { return table.Stats().Standing == n }) {
			b.Fatalf("%+v", table.Stats())
		}
		b.ReportMetric(time.Since(began).Seconds(), "s-install")
		var memory runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&memory)
		b.ReportMetric(float64(memory.HeapAlloc)/1e6, "MB-heap")
		stop()

		began = time.Now()
		second, stop := start(b, Config{Namespace: ns})
		b.ReportMetric(time.Since(began).Seconds(), "s-adopt")
		if s := second.Stats(); s.Standing != n {
			b.Fatalf("%+v", s)
		}
		began = time.Now()
		stop()
		b.ReportMetric(time.Since(began).Seconds(), "s-remove")
	}
}
